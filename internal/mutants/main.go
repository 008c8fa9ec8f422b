// Command mutants checks the tests of the contract: they must fail when one of its rules is broken.
//
// Each file in edits breaks one rule. For each, a copy of the module is edited, and a test is run in it, which must fail:
// the user manager's TestModel, or the one that the file names, for what the model does not know or seldom comes to. In a copy
// without edits it must pass. Two are tried at a time, or -jobs. Run it in the module's root: go run ./internal/mutants [name ...]
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
	var mu sync.Mutex // guards what follows
	bad := 0
	limits := make(map[string]time.Duration)
	share(testers, byPackage(mutants), func(t *tester, tests []string) {
		passed, checked := t.check(tests)
		mu.Lock()
		defer mu.Unlock()
		for test, took := range passed {
			limits[test] = max(5*took, time.Minute) // for mutants that wait for ever
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

// byPackage returns the tests of the mutants, each once, those of one binary together.
func byPackage(mutants []*mutant) (groups [][]string) {
	index := make(map[string]int)
	for _, m := range mutants {
		binary, _, _ := strings.Cut(m.test, " ") // the model has one of its own
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

// share calls f for each item, with a tester that no other call has.
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
