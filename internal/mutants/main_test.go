package main

import (
	"path/filepath"
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
	if err := copyModule(dir); err != nil {
		t.Fatal(err)
	}
	for _, m := range all {
		undo, err := m.apply(dir)
		if err != nil {
			t.Errorf("%s: %v", m.name, err)
		}
		undo()
	}
}
