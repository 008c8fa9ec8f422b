package main

import (
	"bytes"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// mutant is a way to break a rule.
type mutant struct {
	name, rule, breaks string
	diesBy             []string // other rules that the edit breaks too
	test               string   // "./package TestName", or "./package TestName$/part"; empty for the model test
	steps              int      // of the model; 0 for those of the flag
	edits              []edit
}

type edit struct{ file, old, new string }

// isModel reports whether the mutant's test is the random test of a whole package.
func (m *mutant) isModel() bool { return m.test == "" || strings.HasSuffix(m.test, " TestModel") }

// rules returns the rules by which the mutant may die.
func (m *mutant) rules() []string { return append([]string{m.rule}, m.diesBy...) }

// diedByItsRule reports whether a failed test with this output found the mutant by one of its rules. A test that the mutant
// names checks its rule alone, but must fail by itself, not by the time limit.
func (m *mutant) diedByItsRule(output string) bool {
	if m.test != "" && !m.isModel() {
		return !strings.Contains(output, "panic: test timed out") && !strings.Contains(output, badLibrary)
	}
	return complaint(m.rules()).MatchString(output)
}

// badLibrary is in the output of a test whose store did not take its library of functions: an edit of it that does not compile breaks no
// rule.
const badLibrary = "the library rollcall1 could not be loaded"

// complaint matches a complaint about one of the rules; without rules, about any.
func complaint(rules []string) *regexp.Regexp {
	if len(rules) == 0 {
		rules = []string{`P?\d+`}
	}
	return regexp.MustCompile(`\brule (` + strings.Join(rules, "|") + `)[,:].*`)
}

func readAll(dir string) (all []*mutant, err error) {
	files, err := filepath.Glob(filepath.Join(dir, "*.txt"))
	if err != nil {
		return nil, err
	}
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			return nil, err
		}
		m, err := parse(string(text))
		if err != nil {
			return nil, fmt.Errorf("%s: %w", file, err)
		}
		all = append(all, m)
	}
	return all, nil
}

func parse(text string) (m *mutant, err error) {
	m = &mutant{}
	var e edit
	var into *string // gets the text; nil between edits
	for line := range strings.Lines(text) {
		key, value, _ := strings.Cut(strings.TrimSpace(line), ": ")
		switch {
		case line == "--- old\n":
			into = &e.old
		case line == "--- new\n":
			into = &e.new
		case line == "--- end\n":
			m.edits = append(m.edits, e)
			e.old, e.new, into = "", "", nil
		case into != nil:
			*into += line
		case key == "name":
			m.name = value
		case key == "rule":
			m.rule = value
		case key == "breaks":
			m.breaks = value
		case key == "dies-by":
			m.diesBy = strings.Split(value, ", ")
		case key == "steps":
			if m.steps, err = strconv.Atoi(value); err != nil {
				return nil, err
			}
		case key == "test":
			m.test = value
		case key == "file":
			e.file = value
		case key != "":
			return nil, fmt.Errorf("unexpected line %q", line)
		}
	}
	if m.name == "" || m.rule == "" || m.breaks == "" || len(m.edits) == 0 || into != nil {
		return nil, fmt.Errorf("it needs a name, a rule, what it breaks, and an edit")
	}
	return m, nil
}

// apply edits the copy. undo is never nil.
func (m *mutant) apply(dir string) (undo func(), err error) {
	originals := make(map[string][]byte)
	undo = func() {
		for path, text := range originals {
			if err := os.WriteFile(path, text, 0o644); err != nil {
				panic(err) // every later mutant would have this edit too
			}
		}
	}
	for _, e := range m.edits {
		path := filepath.Join(dir, filepath.FromSlash(e.file))
		text, err := os.ReadFile(path)
		if err != nil {
			return undo, err
		}
		if n := bytes.Count(text, []byte(e.old)); n != 1 || e.old == "" {
			return undo, fmt.Errorf("its old text is in %s %d times:\n%s", e.file, n, e.old)
		}
		if originals[path] == nil {
			originals[path] = text
		}
		if err := os.WriteFile(path, bytes.Replace(text, []byte(e.old), []byte(e.new), 1), 0o644); err != nil {
			return undo, err
		}
	}
	return undo, nil
}

// copyModule copies what Go needs of the module in the working directory, and of those in its folders, with the test files for which keep
// is true.
func copyModule(to string, keep func(test string) bool) error {
	return filepath.WalkDir(".", func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() {
			if path != "." && strings.HasPrefix(d.Name(), ".") || d.Name() == "node_modules" {
				return filepath.SkipDir
			}
			return os.MkdirAll(filepath.Join(to, path), 0o755)
		}
		name := d.Name()
		if !slices.Contains([]string{".go", ".mod", ".sum", ".s", ".lua", ".html", ".css", ".js", ".svg", ".json"}, filepath.Ext(name)) {
			return nil
		}
		if strings.HasSuffix(name, "_test.go") && !keep(name) {
			return nil
		}
		text, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		return os.WriteFile(filepath.Join(to, path), text, 0o644)
	})
}
