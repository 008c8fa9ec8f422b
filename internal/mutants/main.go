// Command mutants checks the tests of the contract: they must fail when one of its rules is broken.
//
// Each file in edits breaks one rule. For each, a copy of the module is edited, and a test is run in it, which must fail:
// the user manager's TestModel, or the one that the file names, for what the model does not know or seldom comes to. In a copy
// without edits it must pass. Run it in the module's root: go run ./internal/mutants [name ...]
//
// TestModel must complain of that very rule, and is told to look past all others: a mutant that breaks one thing more is not
// known to be noticed for the rule that it is about. A test that the file names holds its rule by itself.
//
// A file in edits has a line for its name, one for the rule, one for what it breaks, and then one or more edits, whose old text
// must be found exactly once in the file. Three more lines may stand before them: dies-by has other rules by which the mutant may
// die, where one is broken together with another; test has a package and a name; steps has the steps of the model, in place of
// -steps:
//
//	name: silence-not-looked-at-again
//	rule: 8
//	breaks: a user who spoke before the turn came is timed out all the same
//	dies-by: 3
//	file: usermgr/lifecycle.go
//	--- old
//	...
//	--- new
//	...
//	--- end
package main

import (
	"bytes"
	"flag"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
)

func main() {
	steps := flag.Int("steps", 300_000, "most steps of the model for each mutant")
	verbose := flag.Bool("v", false, "print what the model test says")
	flag.Parse()
	if err := run(*steps, *verbose, flag.Args()); err != nil {
		fmt.Fprintln(os.Stderr, "mutants:", err)
		os.Exit(1)
	}
}

func run(steps int, verbose bool, names []string) error {
	mutants, err := readAll(filepath.Join("internal", "mutants", "edits"))
	if err != nil {
		return err
	}
	if len(names) > 0 {
		mutants = slices.DeleteFunc(mutants, func(m *mutant) bool { return !slices.Contains(names, m.name) })
	}
	if len(mutants) == 0 {
		return fmt.Errorf("no such mutant")
	}
	dir, err := os.MkdirTemp("", "mutants")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	t := tester{dir: dir, steps: steps, verbose: verbose, limits: make(map[string]time.Duration)}
	for _, c := range []struct {
		dir  string
		keep func(test string) bool
	}{
		{t.modelDir(), func(test string) bool { return strings.HasPrefix(test, "model") }}, // which compiles sooner
		{t.fullDir(), func(string) bool { return true }},
	} {
		if err := copyModule(c.dir, c.keep); err != nil {
			return err
		}
	}

	began := time.Now()
	bad := 0
	for _, m := range mutants {
		if err := t.check(m.test); err != nil {
			return err
		}
		if !t.try(m) {
			bad++
		}
	}
	fmt.Printf("%d mutants, %d killed, in %v\n", len(mutants), len(mutants)-bad, since(began))
	if bad > 0 {
		return fmt.Errorf("%d mutants survived, or could not be tried", bad)
	}
	return nil
}

// tester runs tests in copies of the module: TestModel in one that has no others, and the others in one that has all.
type tester struct {
	dir     string
	steps   int
	verbose bool
	limits  map[string]time.Duration // how long a test may take that was tried without an edit
}

func (t *tester) modelDir() string { return filepath.Join(t.dir, "model") }
func (t *tester) fullDir() string  { return filepath.Join(t.dir, "full") }

// check runs a test in the code as it is, once.
func (t *tester) check(test string) error {
	if t.limits[test] > 0 {
		return nil
	}
	t.limits[test] = 2 * time.Minute
	began := time.Now()
	if failed, said, err := t.test(test, t.steps/5, nil); err != nil {
		return err
	} else if failed {
		return fmt.Errorf("%s fails without any edit:\n%s", nameOf(test), said)
	}
	fmt.Printf("PASSED    %s, the code as it is (%v)\n", nameOf(test), since(began))
	t.limits[test] = max(5*time.Since(began), time.Minute) // for mutants that wait for ever
	return nil
}

// nameOf returns what a test is called; the empty one is the model's.
func nameOf(test string) string {
	if test == "" {
		return "TestModel"
	}
	return test
}

// try edits the copy, tests it, takes the edits back, and reports whether the mutant was killed by its own rule.
func (t *tester) try(m *mutant) (killed bool) {
	began := time.Now()
	dir := t.fullDir()
	if m.test == "" {
		dir = t.modelDir()
	}
	undo, err := m.apply(dir)
	defer undo()
	var failed bool
	var said string
	if err == nil {
		steps := t.steps
		if m.steps > 0 {
			steps = m.steps
		}
		failed, said, err = t.test(m.test, steps, m.rules())
	}
	say := func(what, why string) {
		fmt.Printf("%-9s rule %-2s %s (%v): %s\n", what, m.rule, m.name, since(began), why)
	}
	switch {
	case err != nil:
		say("STALE", err.Error())
	case !failed && m.test == "":
		if failed, said, _ = t.test("", t.steps/5, nil); failed { // no rule is looked past
			say("KILLED BY ANOTHER RULE", verdict(said, nil))
		} else {
			say("SURVIVED", m.breaks)
		}
	case !failed:
		say("SURVIVED", m.breaks)
	case !m.diedByItsRule(said):
		say("KILLED BY ANOTHER RULE", verdict(said, nil))
	default:
		killed = true
		say("KILLED", verdict(said, m.rules()))
	}
	if failed && t.verbose {
		fmt.Println(said)
	}
	return killed
}

// isModel reports whether the mutant's test is a random one, of a whole package.
func (m *mutant) isModel() bool { return m.test == "" || strings.HasSuffix(m.test, " TestModel") }

// rules are those by which a mutant may die.
func (m *mutant) rules() []string { return append([]string{m.rule}, m.diesBy...) }

// diedByItsRule reports whether the output of a test that failed says so. A test that the mutant names is about its rule; but it
// must say that it failed, and not merely have been ended.
func (m *mutant) diedByItsRule(output string) bool {
	if m.test != "" && !m.isModel() {
		return !strings.Contains(output, "panic: test timed out")
	}
	return complaint(m.rules()).MatchString(output)
}

// test reports whether a test fails. A copy that does not compile is an error.
func (t *tester) test(name string, steps int, rules []string) (failed bool, said string, err error) {
	dir, pkg, pattern := t.modelDir(), "./usermgr", "TestModel"
	if name != "" {
		dir = t.fullDir()
		pkg, pattern, _ = strings.Cut(name, " ")
	}
	binary := filepath.Join(dir, "mutant.test")
	build := exec.Command("go", "test", "-c", "-ldflags=-s -w", "-o", binary, pkg)
	build.Dir = dir
	if out, err := build.CombinedOutput(); err != nil {
		return false, "", fmt.Errorf("it does not compile: %v\n%s", err, out)
	}
	args := []string{"-test.run=^" + pattern + "$", "-test.timeout=" + t.limits[name].String()}
	if name == "" {
		args = append(args, "-rapid.shrinktime=1ns")
	}
	test := exec.Command(binary, args...)
	test.Dir = filepath.Join(dir, filepath.FromSlash(pkg))
	if name == "" {
		test.Env = append(os.Environ(), fmt.Sprintf("ROLLCALL_MODEL_STEPS=%d", steps), "ROLLCALL_MODEL_RULES="+strings.Join(rules, ","))
	}
	out, err := test.CombinedOutput()
	if _, ran := err.(*exec.ExitError); err != nil && !ran {
		return false, "", err
	}
	if err == nil && strings.Contains(string(out), "no tests to run") {
		return false, "", fmt.Errorf("there is no test %s", name)
	}
	return err != nil, string(out), nil
}

// complaint finds where one of the rules is said to be broken; any rule, for none.
func complaint(rules []string) *regexp.Regexp {
	if len(rules) == 0 {
		rules = []string{`\d+`}
	}
	return regexp.MustCompile(`\brule (` + strings.Join(rules, "|") + `)[,:].*`)
}

var said = regexp.MustCompile(`panic: .*|deadlock.*|\w+_test\.go:\d+: .*`)

// verdict finds in the output of a test what it complains about, of the rules if it does.
func verdict(output string, rules []string) string {
	for _, v := range []*regexp.Regexp{complaint(rules), said} {
		if found := v.FindString(output); found != "" {
			return found
		}
	}
	line, _, _ := strings.Cut(output, "\n")
	return line
}

func since(t time.Time) time.Duration { return time.Since(t).Round(100 * time.Millisecond) }

// mutant is a way to break a rule.
type mutant struct {
	name, rule, breaks string
	diesBy             []string // other rules that the edit breaks together with its own
	test               string   // "./package TestName"; empty for the model test
	steps              int      // of the model; 0 for what the flag says
	edits              []edit
}

type edit struct{ file, old, new string }

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
	var into *string // where text goes; nil between edits
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
				panic(err) // every later mutant would be another one
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

// copyModule copies what Go needs of the module in the working directory, with the test files that are to be kept.
func copyModule(to string, keep func(test string) bool) error {
	return filepath.WalkDir(".", func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() {
			if name := d.Name(); path != "." && (strings.HasPrefix(name, ".") || isModule(path)) {
				return filepath.SkipDir
			}
			return os.MkdirAll(filepath.Join(to, path), 0o755)
		}
		name := d.Name()
		if ext := filepath.Ext(name); ext != ".go" && ext != ".mod" && ext != ".sum" && ext != ".s" {
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

// isModule reports whether a directory below the root is a module of its own.
func isModule(dir string) bool {
	_, err := os.Stat(filepath.Join(dir, "go.mod"))
	return err == nil
}
