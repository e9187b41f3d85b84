//go:build manpages

package main

import (
	"errors"
	"log"
	"os"
	"path/filepath"

	"github.com/spf13/cobra/doc"
)

// With the tag manpages this is another program, so that hapressure does not contain the
// generator. It writes man pages and completions into the folder that its argument names.
// packaging/package.sh runs it. The date of the pages is $SOURCE_DATE_EPOCH.
func init() {
	log.SetFlags(0)
	if len(os.Args) != 2 {
		log.Fatal("usage: go run -tags manpages ./cmd/hapressure FOLDER")
	}
	root, dir := rootCommand(), os.Args[1]
	root.DisableAutoGenTag = true
	err := errors.Join(
		doc.GenManTree(root, &doc.GenManHeader{Section: "8", Source: "hapressure",
			Manual: "hapressure"}, dir),
		root.GenBashCompletionFileV2(filepath.Join(dir, "hapressure.bash"), true),
		root.GenZshCompletionFile(filepath.Join(dir, "_hapressure")),
		root.GenFishCompletionFile(filepath.Join(dir, "hapressure.fish"), true),
	)
	if err != nil {
		log.Fatalf("writing man pages and completions: %v", err)
	}
	os.Exit(0)
}
