package main

import (
	"fmt"
	"runtime"

	"github.com/spf13/cobra"
)

// The linker sets these.
var (
	version = "devel"
	commit  string // of Git
	built   string // when, in RFC 3339; the time of the commit in a package
)

// Version is what hapressure version prints.
type Version struct {
	// Of this program; "devel" = not set when it was built
	Version string `json:"version"`
	Commit  string `json:"commit,omitempty"` // of Git, that it was built from
	// When it was built, RFC 3339; packages have the time of the commit
	Built string `json:"built,omitempty"`
	Go    string `json:"go"`   // the release of Go that built it
	OS    string `json:"os"`   // that it was built for, as Go names it
	Arch  string `json:"arch"` // that it was built for, as Go names it
}

func versionCommand() *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "version",
		Short: "Print the version of this program, and what it was built from",
		Long: `Print the version of this program, what it was built from and when, and the
release of Go. 'hapressure status' shows the version of the daemon that is running.

Exit codes: 0 printed, 1 failed, 2 wrong usage.`,
		Example: "  hapressure version\n  hapressure version --json | jq -r .version",
		Args:    usage(noArguments),
		RunE: func(cmd *cobra.Command, _ []string) error {
			v := thisVersion()
			if asJSON {
				return writeJSON(cmd.OutOrStdout(), v)
			}
			_, err := fmt.Fprintln(cmd.OutOrStdout(), v)
			return err
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return cmd
}

func thisVersion() Version {
	return Version{version, commit, built, runtime.Version(), runtime.GOOS, runtime.GOARCH}
}

func (v Version) String() string {
	text := "hapressure " + v.Version
	if v.Commit != "" {
		text += ", commit " + v.Commit
	}
	if v.Built != "" {
		text += ", built " + v.Built
	}
	return fmt.Sprintf("%s, %s, %s/%s", text, v.Go, v.OS, v.Arch)
}
