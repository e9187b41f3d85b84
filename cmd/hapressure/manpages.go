//go:build manpages

package main

import (
	"errors"
	"log"
	"os"
	"path/filepath"

	"github.com/spf13/cobra/doc"
)

// A program of its own, so that hapressure need not carry what makes man pages: it writes those and the shells' completions into the
// folder that its argument names. packaging/package.sh runs it. The pages' date is $SOURCE_DATE_EPOCH.
func init() {
	log.SetFlags(0)
	if len(os.Args) != 2 {
		log.Fatal("usage: go run -tags manpages ./cmd/hapressure FOLDER")
	}
	root, dir := rootCommand(), os.Args[1]
	root.DisableAutoGenTag = true
	err := errors.Join(
		doc.GenManTree(root, &doc.GenManHeader{Section: "8", Source: "hapressure", Manual: "hapressure"}, dir),
		root.GenBashCompletionFileV2(filepath.Join(dir, "hapressure.bash"), true),
		root.GenZshCompletionFile(filepath.Join(dir, "_hapressure")),
		root.GenFishCompletionFile(filepath.Join(dir, "hapressure.fish"), true),
	)
	if err != nil {
		log.Fatalf("writing man pages and completions: %v", err)
	}
	os.Exit(0)
}
