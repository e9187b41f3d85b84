package render

import (
	"fmt"

	"hapressure/controller/status"
	"hapressure/policy"
)

// Room returns an answer in one line: there is room.
func Room(r status.Room) string {
	text := fmt.Sprintf("%s: room for %s under %s, after %s", Printable(r.Target),
		policy.Count(r.ReloadRoom.Value, "reload"), Printable(r.Limit.Name), Span(r.Waited))
	if r.Freed > 0 {
		text += fmt.Sprintf(", in which hapressure freed %s", Size(r.Freed))
	}
	return text + "\n"
}
