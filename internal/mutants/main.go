// Command mutants checks the tests of the contract: they must fail when one of its rules is broken.
//
// Each file in edits is a mutant: it breaks one rule. The command edits a copy of the module and runs a test there, which must
// fail: the user manager's TestModel, or the test that the file names. A file names its own test if the model seldom or never
// covers the rule. Without the edit the test must pass. Two mutants are tried at a time; -jobs changes the number. Run the
// command in the module's root: go run ./internal/mutants [name ...]
//
// TestModel checks only the mutant's rule and the rules in dies-by, and must complain about one of them. It checks no other
// rules: a mutant that breaks two could be found by the wrong rule. A test that the file names checks its rule
// alone.
//
// A file in edits has a line for its name, one for the rule, one for what it breaks, and then one or more edits. An edit begins
// with a line for the file of the module that it changes; its old text must be in that file exactly once. Three more lines may
// come before the edits. dies-by lists other rules that the edit breaks too: it is enough if the test reports one of them. test names
// the package and the test to run. steps is the largest number of steps that TestModel takes for this mutant, in place of the flag -steps:
//
//	name: counters-before-quiet
//	rule: 3
//	dies-by: 12
//	breaks: the final counters are taken before PushedOut and the last messages
//	file: usermgr/departure.go
//	--- old
//	...
//	--- new
//	...
//	--- end
package main

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"
)

func main() {
	steps := flag.Int("steps", 300_000, "most steps of the model for each mutant")
	jobs := flag.Int("jobs", 2, "how many mutants are tried at a time")
	verbose := flag.Bool("v", false, "print what the tests say")
	flag.Parse()
	if err := run(*steps, *jobs, *verbose, flag.Args()); err != nil {
		fmt.Fprintln(os.Stderr, "mutants:", err)
		os.Exit(1)
	}
}

func run(steps, jobs int, verbose bool, names []string) error {
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
	var testers []*tester
	for i := range min(max(jobs, 1), len(mutants)) {
		t, err := newTester(filepath.Join(dir, fmt.Sprint(i)), steps, verbose)
		if err != nil {
			return err
		}
		testers = append(testers, t)
	}

	began := time.Now()
	var mu sync.Mutex // guards the variables below
	bad := 0
	limits := make(map[string]time.Duration)
	share(testers, byPackage(mutants), func(t *tester, tests []string) {
		passed, checked := t.check(tests)
		mu.Lock()
		defer mu.Unlock()
		for test, took := range passed {
			limits[test] = max(5*took, 2*time.Minute) // for mutants that wait for ever: more than the patience of a test
		}
		if checked != nil {
			err = checked
		}
	})
	if err != nil {
		return err
	}
	share(testers, mutants, func(t *tester, m *mutant) {
		if t.try(m, limits[m.test]) {
			return
		}
		mu.Lock()
		defer mu.Unlock()
		bad++
	})
	fmt.Printf("%d mutants, %d killed, in %v\n", len(mutants), len(mutants)-bad, since(began))
	if bad > 0 {
		return fmt.Errorf("%d mutants survived, or could not be tried", bad)
	}
	return nil
}

// byPackage returns the tests of the mutants, each once, grouped by binary.
func byPackage(mutants []*mutant) (groups [][]string) {
	index := make(map[string]int)
	for _, m := range mutants {
		binary, _, _ := strings.Cut(m.test, " ") // the model has its own binary
		i, ok := index[binary]
		if !ok {
			i = len(groups)
			index[binary] = i
			groups = append(groups, nil)
		}
		if !slices.Contains(groups[i], m.test) {
			groups[i] = append(groups[i], m.test)
		}
	}
	return groups
}

// share calls f for each item, with a tester that no other call uses.
func share[T any](testers []*tester, items []T, f func(*tester, T)) {
	next := make(chan T)
	var all sync.WaitGroup
	for _, t := range testers {
		all.Go(func() {
			for item := range next {
				f(t, item)
			}
		})
	}
	for _, item := range items {
		next <- item
	}
	close(next)
	all.Wait()
}

func since(t time.Time) time.Duration { return time.Since(t).Round(100 * time.Millisecond) }
