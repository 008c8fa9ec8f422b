package doccheck

import (
	"path/filepath"
	"strings"
	"testing"
)

// recipePrograms returns the code of each program of docs/recipes.md, by its directory.
func recipePrograms(t *testing.T) map[string]string {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(root, "examples", "recipes", "*", "*.go"))
	if err != nil || len(files) == 0 {
		t.Fatalf("examples/recipes has %d files: %v", len(files), err)
	}
	programs := make(map[string]string)
	for _, file := range files {
		dir := "examples/recipes/" + filepath.Base(filepath.Dir(file))
		programs[dir] += read(t, dir+"/"+filepath.Base(file))
	}
	return programs
}

// hasLines reports whether code has a block's lines, one after another, however far they are indented there.
func hasLines(code, block string) bool {
	for depth := range 6 {
		var lines strings.Builder
		for line := range strings.Lines(block) {
			if line != "\n" {
				lines.WriteString(strings.Repeat("\t", depth))
			}
			lines.WriteString(line)
		}
		if strings.Contains("\n"+code, "\n"+lines.String()) {
			return true
		}
	}
	return false
}

// What docs/recipes.md shows is a part of the programs, which a test in examples runs, and it shows a part of each.
func TestTheRecipesCodeIsTheProgramsOwn(t *testing.T) {
	doc, programs := read(t, "docs/recipes.md"), recipePrograms(t)
	shown := make(map[string]bool)
	for _, block := range goBlocks(doc) {
		found := false
		for dir, code := range programs {
			if hasLines(code, block) {
				found, shown[dir] = true, true
			}
		}
		if !found {
			t.Errorf("no program in examples/recipes has:\n%s", block)
		}
	}
	tests := read(t, "examples/recipes_test.go")
	for dir := range programs {
		if !shown[dir] {
			t.Errorf("docs/recipes.md has no code of %s", dir)
		}
		if !strings.Contains(doc, "\tgo run ./"+dir+" -addr ") {
			t.Errorf("docs/recipes.md does not say how to run %s", dir)
		}
		if !strings.Contains(tests, `"`+strings.TrimPrefix(dir, "examples/")+`"`) {
			t.Errorf("no test runs %s", dir)
		}
	}
}
