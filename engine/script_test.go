package engine_test

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/rollcall-go/rollcall/engine"
)

// script is a sequence of steps in a file of testdata: a step a line, and below "----" what comes of it, up to an empty
// line. Nothing may come of a step that has no such lines. "repeat N" … "end" does the steps between them N times, and a
// line that begins with # is a comment.
type script struct {
	t     *testing.T
	file  string
	lines []string
	verbs verbs
}

// verbs are what the first word of a step may be, and what it does, which returns what comes of it.
type verbs map[string]func(s step) string

// step is a line of a script, in words.
type step []string

// runScript does what a file of testdata says.
func runScript(t *testing.T, file string, v verbs) {
	t.Helper()
	file = filepath.Join("testdata", file)
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	s := &script{t, file, strings.Split(string(text), "\n"), v}
	if at, ended := s.run(0); ended {
		t.Fatalf("%s:%d: an end without a repeat", file, at)
	}
}

// run does the steps from a line on, up to an "end" or the end of the file, and returns the line behind it.
func (s *script) run(at int) (next int, ended bool) {
	for at < len(s.lines) {
		words := step(strings.Fields(s.lines[at]))
		switch {
		case len(words) == 0 || words[0][0] == '#':
			at++
		case words[0] == "end":
			return at + 1, true
		case words[0] == "repeat":
			first := at + 1
			for range words.number(1) {
				if at, ended = s.run(first); !ended {
					s.t.Fatalf("%s:%d: a repeat without an end", s.file, first)
				}
			}
		default:
			want, behind := s.outcome(at + 1)
			if got := s.do(at, words); got != want {
				s.t.Fatalf("%s:%d: %s\ncomes to:\n%s\nnot to:\n%s", s.file, at+1, strings.Join(words, " "), got, want)
			}
			at = behind
		}
	}
	return at, false
}

// outcome returns what must come of the step before a line, and the line that follows.
func (s *script) outcome(at int) (want string, next int) {
	if at == len(s.lines) || strings.TrimSpace(s.lines[at]) != "----" {
		return "", at
	}
	var lines []string
	for at++; at < len(s.lines) && strings.TrimSpace(s.lines[at]) != ""; at++ {
		lines = append(lines, strings.TrimSpace(s.lines[at]))
	}
	return strings.Join(lines, "\n"), at
}

func (s *script) do(at int, words step) string {
	defer func() {
		if s.t.Failed() {
			s.t.Logf("at %s:%d: %s", s.file, at+1, strings.Join(words, " "))
		}
	}()
	f := s.verbs[words[0]]
	if f == nil {
		s.t.Fatalf("%s:%d: no verb %q", s.file, at+1, words[0])
	}
	return strings.TrimSpace(f(words))
}

// value returns what a step sets key to, as key=value, or "".
func (s step) value(key string) string {
	for _, w := range s {
		if v, ok := strings.CutPrefix(w, key+"="); ok {
			return v
		}
	}
	return ""
}

// number returns the word at this place, which is a number: 3, 64K, 64K-1, 1M or 1G.
func (s step) number(at int) int { return number(s[at]) }

func number(word string) int {
	word, less, _ := strings.Cut(word, "-")
	unit := 1
	for letter, size := range map[string]int{"K": 1 << 10, "M": 1 << 20, "G": 1 << 30} {
		if w, ok := strings.CutSuffix(word, letter); ok {
			word, unit = w, size
		}
	}
	n, err := strconv.Atoi(word)
	if err != nil {
		panic(fmt.Sprintf("a script's number: %v", err))
	}
	if less != "" {
		return n*unit - number(less)
	}
	return n * unit
}

// stage is what the scripts of this package play on: an engine that runs, and mostly a gate that lets in everyone.
type stage struct {
	t   *testing.T
	sec *security
	*running
	gate *gate
}

// open runs an engine with the settings of a step, such as
//
//	engine loops=2 listeners=tcp,tls max-outbound=1G write-timeout=none close-timeout=50ms
//
// after prepare has given it handlers, and a gate where the script has clients enter.
func (st *stage) open(s step, prepare func(e *engine.Engine)) {
	st.t.Helper()
	timeout := func(key string) time.Duration {
		switch v := s.value(key); v {
		case "":
			return 0
		case "none":
			return -1
		default:
			d, err := time.ParseDuration(v)
			if err != nil {
				st.t.Fatal(err)
			}
			return d
		}
	}
	cfg := engine.Config{Loops: number(s.value("loops"))}
	cfg.Timeouts.Write, cfg.Timeouts.Close = timeout("write-timeout"), timeout("close-timeout")
	if v := s.value("max-outbound"); v != "" {
		cfg.Limits.MaxOutbound = number(v)
	}
	if slices.Contains(strings.Split(s.value("listeners"), ","), "tls") {
		st.sec = newSecurity(st.t)
		cfg.Listeners = []engine.Listener{{}, {TLS: st.sec.server}}
	}
	e := newEngine(cfg)
	prepare(e)
	st.running = serve(st.t, e)
}

// enter has a client come in: "fast", "slow", whose socket takes little before it is read, or "tls".
func (st *stage) enter(kind string) (*peer, *binding) {
	st.t.Helper()
	switch kind {
	case "fast":
		return st.gate.enter(st.t, st.addr)
	case "slow":
		return st.gate.enterSlow(st.t, st.addr)
	case "tls":
		return st.gate.enterOn(st.t, dialTLS(st.t, st.Addrs()[1].String(), st.sec.client))
	}
	st.t.Fatalf("no client is %q", kind)
	return nil, nil
}
