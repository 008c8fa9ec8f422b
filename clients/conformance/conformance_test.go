package main

import (
	"regexp"
	"testing"
)

// goTestee builds the testee of Go's client.
func goTestee(t *testing.T) testee {
	t.Helper()
	program, err := buildGo(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	return testee{name: "go", command: quoted(program)}
}

// Go's client keeps to docs/protocol.md.
func TestGoClientConforms(t *testing.T) {
	t.Parallel()
	runAll(jobs([]testee{goTestee(t)}, regexp.MustCompile(""), 1), 16, func(o outcome) {
		t.Run(o.scenario.name, func(t *testing.T) {
			if o.fault != "" {
				t.Error(o.failed())
			}
		})
	})
}
