package main

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// An edit whose text is no longer in the code is no mutant any more, and `make mutants` is not run at every change.
func TestEditsFitTheCode(t *testing.T) {
	t.Chdir(filepath.Join("..", ".."))
	all, err := readAll(filepath.Join("internal", "mutants", "edits"))
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	if err := copyModule(dir, func(string) bool { return true }); err != nil {
		t.Fatal(err)
	}
	for _, m := range all {
		if pkg, test, named := strings.Cut(m.test, " "); named && !hasTest(t, filepath.Join(dir, pkg), test) {
			t.Errorf("%s: there is no %s in %s", m.name, test, pkg)
		}
		undo, err := m.apply(dir)
		if err != nil {
			t.Errorf("%s: %v", m.name, err)
		}
		undo()
	}
}

// hasTest reports whether a package has a test.
func hasTest(t *testing.T, dir, test string) bool {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(dir, "*_test.go"))
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		if bytes.Contains(text, []byte("\nfunc "+test+"(t *testing.T)")) {
			return true
		}
	}
	return false
}
