package usermgr_test

import (
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"runtime/pprof"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"
	"pgregory.net/rapid"

	"github.com/rollcall-go/rollcall/internal/contract"
	"github.com/rollcall-go/rollcall/usermgr"
)

var stepsInAll = 1_000_000

// TestModel runs random programs on a manager and holds everything that it did against the contract (rules 3 to 10, 12
// and 16), see the package contract. A program is what several goroutines do at the same time, and what the handlers
// do, on links and a checker that are made up; it runs in a synctest bubble, so that waiting takes no time.
//
// ROLLCALL_MODEL_STEPS says how many steps to take in all; a million by default, a thirty-second of it with the race detector, a fiftieth with -short.
//
// ROLLCALL_MODEL_RULES ("3" or "3,17") has it look past all that breaks other rules, until one of these is broken: a mutant is
// to die by its own.
//
// A failure names its seed, which -rapid.seed (or RAPID_SEED) takes: it makes the same programs again. The scheduler has
// no seed, so a failure may need a few runs (-count=20) to come again. With -rapid.v the programs are printed.
func TestModel(t *testing.T) {
	steps := stepsInAll
	if testing.Short() {
		steps /= 50
	}
	if s := os.Getenv("ROLLCALL_MODEL_STEPS"); s != "" {
		n, err := strconv.Atoi(s)
		if err != nil {
			t.Fatalf("ROLLCALL_MODEL_STEPS: %v", err)
		}
		steps = n
	}
	rules := rulesOf(t, os.Getenv("ROLLCALL_MODEL_RULES"))
	patience := time.Minute
	if len(rules) > 0 {
		patience = 8 * time.Second
	}
	setFlags(t, (steps+2*modelSteps-1)/(2*modelSteps))

	var taken atomic.Int64
	var seen occurrences
	var failed atomic.Pointer[string] // the mode in which a rule was broken of those that are looked for
	stop := watchOver(&taken, patience)
	began := time.Now()
	t.Run("mode", func(t *testing.T) {
		for name, mode := range map[string]usermgr.RelogonMode{"ReplaceOld": usermgr.ReplaceOld, "IgnoreNew": usermgr.IgnoreNew} {
			t.Run(name, func(t *testing.T) {
				t.Parallel()
				rapid.Check(t, func(rt *rapid.T) {
					p := drawProgram(rt, mode)
					if f := failed.Load(); f != nil && *f != name {
						return // what was looked for is found
					}
					err := inBubble(t, func() error {
						w := newWorld(p, rules, &taken)
						defer w.users.Tally(seen.add)
						return w.run()
					})
					switch {
					case err == nil:
					case len(rules) == 0:
						rt.Fatalf("%v", err)
					case names(err, rules):
						failed.CompareAndSwap(nil, &name)
						rt.Fatalf("%v", err)
					}
				})
			})
		}
	})
	stop()
	t.Logf("%d steps in %v: %v", taken.Load(), time.Since(began).Round(time.Millisecond), &seen)
	if t.Failed() {
		return
	}
	if int(taken.Load()) < steps {
		t.Errorf("%d steps were to be taken", steps)
	}
	for _, what := range contract.Tallied {
		if seen.times[what] == 0 && steps >= 10_000 {
			t.Errorf("it never came to this: %s; so nothing is known of it", what)
		}
	}
	goleak.VerifyNone(t)
}

// rulesOf reads numbers with commas between them.
func rulesOf(t *testing.T, list string) (rules []int) {
	for number := range strings.SplitSeq(list, ",") {
		if number == "" {
			continue
		}
		n, err := strconv.Atoi(number)
		if err != nil {
			t.Fatalf("ROLLCALL_MODEL_RULES: %v", err)
		}
		rules = append(rules, n)
	}
	return rules
}

// names reports whether err says that one of the rules is broken.
func names(err error, rules []int) bool {
	return slices.ContainsFunc(rules, func(n int) bool {
		return strings.Contains(err.Error(), fmt.Sprintf("rule %d,", n)) || strings.Contains(err.Error(), fmt.Sprintf("rule %d:", n))
	})
}

// occurrences counts what happened in all programs together.
type occurrences struct {
	mu    sync.Mutex
	times map[string]int
}

func (o *occurrences) add(what string, times int) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.times == nil {
		o.times = make(map[string]int)
	}
	o.times[what] += times
}

func (o *occurrences) String() string {
	var b strings.Builder
	for _, what := range contract.Tallied {
		fmt.Fprintf(&b, "%d %s, ", o.times[what], what)
	}
	return strings.TrimSuffix(b.String(), ", ")
}

// setFlags tells rapid how many programs to make in each mode, and from which seed. Its files of failures would be of
// little use, since a seed tells as much and a shorter program need not fail again.
func setFlags(t *testing.T, checks int) {
	if testing.Short() {
		checks *= 5 // rapid takes a fifth
	}
	values := map[string]string{"rapid.checks": strconv.Itoa(checks), "rapid.nofailfile": "true"}
	if flag.Lookup("rapid.seed").Value.String() == "0" {
		values["rapid.seed"] = strconv.FormatUint(rand.Uint64()|1, 10)
		fmt.Println("TestModel begins at -rapid.seed=" + values["rapid.seed"]) // a panic leaves no time for it
	}
	for name, value := range values {
		old := flag.Lookup(name).Value.String()
		if err := flag.Set(name, value); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = flag.Set(name, old) })
	}
}

// inBubble runs a case in a bubble. A deadlock there is a panic here.
func inBubble(t *testing.T, run func() error) (err error) {
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		returned := false
		defer func() {
			if p := recover(); p != nil {
				err = errors.Join(err, fmt.Errorf("%v", p))
			} else if !returned {
				err = errors.Join(err, errors.New("the case was ended, as by a data race"))
			}
		}()
		synctest.Test(t, func(*testing.T) { err = run() })
		returned = true
	}()
	<-ended
	return err
}

// watchOver ends the program when no step has been taken for long: some goroutine waits for a lock that will not be
// released, which does not count as a deadlock in a bubble. A time in which nothing ran counts as one look at most.
func watchOver(taken *atomic.Int64, patience time.Duration) (stop func()) {
	const looks = 10
	stopped, ended := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(ended)
		last, same := int64(-1), 0
		for {
			select {
			case <-stopped:
				return
			case <-time.After(patience / looks):
			}
			now := taken.Load()
			if now != last {
				last, same = now, 0
				continue
			}
			if same++; same == looks {
				_ = pprof.Lookup("goroutine").WriteTo(os.Stderr, 2)
				panic("rule 10: the model is stuck; to try again: -rapid.seed=" + flag.Lookup("rapid.seed").Value.String())
			}
		}
	}()
	return func() { close(stopped); <-ended }
}
