// Conformance judges clients of Rollcall in any language. It plays the server, and drives each client by a small program, its
// testee, over standard input and output; docs/writing-a-client.md describes that.
//
//	go run ./clients/conformance                                  # Go's client, and every executable clients/*/testee*
//	go run ./clients/conformance -testee 'python=clients/python/testee' -run 'push' -v
package main

import (
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"time"
)

func main() {
	var testees []testee
	flag.Func("testee", "`name=command` of a testee; may be given several times (default Go's, and every executable clients/*/testee*)",
		func(s string) error {
			name, command, ok := strings.Cut(s, "=")
			if !ok {
				return fmt.Errorf("%q is not name=command", s)
			}
			testees = append(testees, testee{name: name, command: command})
			return nil
		})
	only := flag.String("run", "", "run the scenarios whose names match this `regexp` only")
	count := flag.Int("count", 1, "run each scenario `n` times")
	parallel := flag.Int("parallel", 12, "run `n` scenarios at a time, and as many more of those that mostly wait")
	verbose := flag.Bool("v", false, "tell of scenarios that pass too, and how much processor time each testee has taken")
	list := flag.Bool("list", false, "list the scenarios and their rules, and run none")
	flag.Parse()
	pattern, err := regexp.Compile(*only)
	if err != nil || flag.NArg() > 0 || *count < 1 || *parallel < 1 {
		fmt.Fprintln(os.Stderr, "conformance: wrong arguments", err, flag.Args())
		os.Exit(2)
	}
	if *list {
		for _, s := range scenarios() {
			fmt.Printf("%-28s %s (%s)\n", s.name, s.rule, s.heading)
		}
		return
	}
	os.Exit(judge(testees, pattern, *count, *parallel, *verbose))
}

// judge runs the scenarios, reports, and returns the program's status.
func judge(testees []testee, only *regexp.Regexp, count, parallel int, verbose bool) int {
	defer removeTrust()
	if len(testees) == 0 {
		dir, err := os.MkdirTemp("", "rollcall-conformance")
		check(err)
		defer os.RemoveAll(dir)
		if testees, err = defaultTestees(dir); err != nil {
			fmt.Fprintln(os.Stderr, "conformance:", err)
			return 2
		}
	}
	began := time.Now()
	failed, passed, leftOut, spent := 0, 0, map[string][]string{}, map[string]time.Duration{}
	runAll(jobs(testees, only, count), parallel, func(o outcome) {
		for name, d := range o.spent {
			spent[name] += d
		}
		switch {
		case o.fault != "":
			failed++
			fmt.Println(o.failed())
		case o.leftOut:
			if names := leftOut[o.testee]; !slices.Contains(names, o.scenario.name) {
				leftOut[o.testee] = append(names, o.scenario.name)
			}
		default:
			passed++
			if verbose {
				fmt.Printf("PASS %s %s (%.2f s)\n", o.testee, o.scenario.name, o.took.Seconds())
			}
		}
	})
	if verbose {
		fmt.Println("processor time of the testees, and of what each has waited for:")
		for _, w := range testees {
			fmt.Printf("  %-24s %6.1f s\n", w.name, spent[w.name].Seconds())
		}
	}
	for _, w := range testees {
		if names := leftOut[w.name]; len(names) > 0 {
			slices.Sort(names)
			fmt.Printf("left out for %s, which lacks what they need: %s\n", w.name, strings.Join(names, ", "))
		}
	}
	fmt.Printf("%d testees, %d passed, %d failed, in %.1f s\n", len(testees), passed, failed, time.Since(began).Seconds())
	if failed > 0 || passed == 0 {
		return 1
	}
	return 0
}

// failed is the report of a trial that failed.
func (o *outcome) failed() string {
	s := o.scenario
	return fmt.Sprintf("FAIL %s %s: rule: %s (docs/protocol.md, %s): %s\n%s", o.testee, s.name, s.rule, s.heading, o.fault, o.report)
}

// job is a trial that is to be run.
type job struct {
	scenario *scenario
	testee   testee
	second   testee // for a scenario that needs two
}

func jobs(testees []testee, only *regexp.Regexp, count int) (all []job) {
	for range count {
		for _, s := range scenarios() {
			if only.MatchString(s.name) {
				for i, w := range testees {
					all = append(all, job{&s, w, testees[(i+1)%len(testees)]})
				}
			}
		}
	}
	return all
}

// runAll runs jobs, parallel at a time, and calls report for each, from one goroutine at a time. Those that mostly wait leave the processors to
// others, so as many of them run beside: a run then takes no longer than its work.
func runAll(all []job, parallel int, report func(outcome)) {
	var (
		workers sync.WaitGroup
		mu      sync.Mutex
	)
	for _, waits := range []bool{true, false} {
		todo := make(chan job, len(all))
		for _, j := range all {
			if j.scenario.waits == waits {
				todo <- j
			}
		}
		close(todo)
		for range parallel {
			workers.Go(func() {
				for j := range todo {
					o := j.scenario.try(j.testee, j.second)
					mu.Lock()
					report(o)
					mu.Unlock()
				}
			})
		}
	}
	workers.Wait()
}

// defaultTestees builds Go's testee into dir, and finds those of the other clients.
func defaultTestees(dir string) ([]testee, error) {
	root, err := exec.Command("go", "list", "-m", "-f", "{{.Dir}}").Output()
	if err != nil {
		return nil, fmt.Errorf("the module's folder: %w", err)
	}
	clients := filepath.Join(strings.TrimSpace(string(root)), "clients")
	program, err := buildGo(dir)
	if err != nil {
		return nil, err
	}
	all := []testee{{name: "go", command: quoted(program)}}
	files, err := filepath.Glob(filepath.Join(clients, "*", "testee*"))
	if err != nil {
		return nil, err
	}
	for _, file := range files {
		info, err := os.Stat(file)
		if err != nil || info.IsDir() || info.Mode()&0o111 == 0 {
			continue
		}
		kind := strings.TrimPrefix(filepath.Base(file), "testee")
		all = append(all, testee{name: filepath.Base(filepath.Dir(file)) + kind, command: quoted(file)})
	}
	return all, nil
}

// buildGo builds the testee of Go's client.
func buildGo(dir string) (string, error) {
	program := filepath.Join(dir, "gotestee")
	cmd := exec.Command("go", "build", "-o", program, "github.com/rollcall-go/rollcall/clients/conformance/gotestee")
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("building Go's testee: %w\n%s", err, out)
	}
	return program, nil
}

// quoted is a word of a shell.
func quoted(s string) string { return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'" }
