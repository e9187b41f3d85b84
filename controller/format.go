package controller

import (
	"fmt"

	"hapressure/policy"
)

func mib(b uint64) string { return fmt.Sprintf("%.0f MiB", float64(b)/(1<<20)) }

func absent(why string) policy.Reading { return policy.Reading{Absent: why} }

func text(err error) string {
	if err == nil {
		return ""
	}
	return err.Error()
}

const none = "none" // as a tier
