package main

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"time"
)

// tester runs tests in two copies of the module: TestModel in one without other tests, and the others in one with all tests.
type tester struct {
	dir     string
	steps   int
	verbose bool
}

func newTester(dir string, steps int, verbose bool) (*tester, error) {
	t := &tester{dir: dir, steps: steps, verbose: verbose}
	for _, c := range []struct {
		dir  string
		keep func(test string) bool
	}{
		{t.copyFor(""), func(test string) bool { return strings.HasPrefix(test, "model") }}, // compiles faster
		{t.copyFor("./any TestOfAName"), func(string) bool { return true }},
	} {
		if err := copyModule(c.dir, c.keep); err != nil {
			return nil, err
		}
	}
	return t, nil
}

// copyFor returns the copy in which a test runs.
func (t *tester) copyFor(test string) string {
	if test == "" {
		return filepath.Join(t.dir, "model")
	}
	return filepath.Join(t.dir, "full")
}

// check runs tests of one package without an edit, which must pass, and returns how long each took.
func (t *tester) check(tests []string) (took map[string]time.Duration, err error) {
	took = make(map[string]time.Duration)
	binary, err := t.build(tests[0])
	if err != nil {
		return nil, err
	}
	for _, test := range tests {
		began := time.Now()
		failed, said, err := t.run(binary, test, 2*time.Minute, t.steps/5, nil)
		if err != nil {
			return nil, err
		}
		if failed {
			return nil, fmt.Errorf("%s fails without any edit:\n%s", nameOf(test), said)
		}
		took[test] = time.Since(began)
		fmt.Printf("PASSED    %s, the code as it is (%v)\n", nameOf(test), since(began))
	}
	return took, nil
}

// tries is how many random tests of a model a mutant may meet: one that breaks the program altogether can panic, or stop, before its
// rule is complained of.
const tries = 3

// try edits the copy, tests it, undoes the edits, and reports whether the mutant was killed by its own rule.
func (t *tester) try(m *mutant, limit time.Duration) (killed bool) {
	began := time.Now()
	undo, err := m.apply(t.copyFor(m.test))
	defer undo()
	var binary, said string
	if err == nil {
		binary, err = t.build(m.test)
	}
	built := since(began)
	var failed bool
	if err == nil {
		steps := t.steps
		if m.steps > 0 {
			steps = m.steps
		}
		for range tries {
			failed, said, err = t.run(binary, m.test, limit, steps, m.rules())
			if err != nil || !failed || !m.isModel() || m.diedByItsRule(said) {
				break
			}
		}
	}
	say := func(what, why string) {
		fmt.Printf("%-9s rule %-2s %s (%v, after %v of building): %s\n", what, m.rule, m.name, since(began), built, why)
	}
	switch {
	case err != nil:
		say("STALE", err.Error())
	case !failed && m.test == "":
		if failed, said, _ = t.run(binary, "", limit, t.steps/5, nil); failed { // all rules
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

// build compiles the tests of a test's package. A copy that does not compile is an error.
func (t *tester) build(test string) (binary string, err error) {
	pkg, _ := split(test)
	build := exec.Command("go", "test", "-c", "-ldflags=-s -w", "-o", "mutant.test")
	build.Dir = filepath.Join(t.copyFor(test), filepath.FromSlash(pkg)) // it may be in a module of its own
	if out, err := build.CombinedOutput(); err != nil {
		return "", fmt.Errorf("it does not compile: %v\n%s", err, out)
	}
	return filepath.Join(build.Dir, "mutant.test"), nil
}

// run reports whether a test fails, and returns its output. The model checks rules; nil is all.
func (t *tester) run(binary, name string, limit time.Duration, steps int, rules []string) (failed bool, said string, err error) {
	pkg, pattern := split(name)
	args := []string{"-test.run=^" + pattern + "$", "-test.timeout=" + limit.String()}
	if name == "" {
		args = append(args, "-rapid.shrinktime=1ns")
	} else {
		args = append(args, "-test.v", "-test.failfast") // output comes at once
	}
	ctx, kill := context.WithCancel(context.Background())
	defer kill()
	test := exec.CommandContext(ctx, binary, args...)
	test.Dir = filepath.Join(t.copyFor(name), filepath.FromSlash(pkg))
	if name == "" {
		test.Env = append(os.Environ(), fmt.Sprintf("ROLLCALL_MODEL_STEPS=%d", steps), "ROLLCALL_MODEL_RULES="+strings.Join(rules, ","))
	}
	out := &listener{heard: kill}
	if rules != nil {
		out.listenFor = complaint(rules)
	}
	test.Stdout, test.Stderr = out, out
	err = test.Run()
	if _, ran := err.(*exec.ExitError); err != nil && !ran {
		return false, "", err
	}
	if err == nil && strings.Contains(out.said.String(), "no tests to run") {
		return false, "", fmt.Errorf("there is no test %s", name)
	}
	if err == nil && strings.Contains(out.said.String(), "--- SKIP: ") {
		return false, "", fmt.Errorf("this machine cannot run it:\n%s", out.said.String())
	}
	return err != nil, out.said.String(), nil
}

// listener keeps the output of a test. It calls heard some time after a complaint, because a mutant may never end.
type listener struct {
	listenFor *regexp.Regexp // a complaint; nil for none
	heard     func()
	once      sync.Once
	said      bytes.Buffer
}

// Write implements io.Writer. exec.Cmd calls it from one goroutine.
func (l *listener) Write(p []byte) (int, error) {
	l.said.Write(p)
	if l.listenFor != nil && l.listenFor.Match(l.said.Bytes()) {
		l.once.Do(func() { time.AfterFunc(2*time.Second, l.heard) })
	}
	return len(p), nil
}

// split returns the package and the name of a test; the empty test is TestModel.
func split(test string) (pkg, name string) {
	if test == "" {
		return "./usermgr", "TestModel"
	}
	pkg, name, _ = strings.Cut(test, " ")
	return pkg, name
}

// nameOf returns the test's name for output.
func nameOf(test string) string {
	if test == "" {
		return "TestModel"
	}
	return test
}

var said = regexp.MustCompile(`panic: .*|deadlock.*|\w+_test\.go:\d+: .*`)

// verdict returns the complaint in the output of a test; about one of the rules, if there is one.
func verdict(output string, rules []string) string {
	for _, v := range []*regexp.Regexp{complaint(rules), said} {
		if found := v.FindString(output); found != "" {
			return found
		}
	}
	line, _, _ := strings.Cut(output, "\n")
	return line
}
