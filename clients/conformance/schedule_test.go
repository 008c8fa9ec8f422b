package main

import (
	"testing"
	"time"
)

// A trial that mostly waits takes the place of no other: here it waits for the other one, and one may run at a time.
func TestWaitingTrialsTakeNoPlace(t *testing.T) {
	t.Parallel()
	ready := testee{name: "ready", command: `sh -c 'echo "{\"event\":\"ready\",\"transports\":[\"tcp\"]}"; cat >/dev/null'`}
	ran := make(chan struct{})
	waits := scenario{name: "waits", waits: true, run: func(t *trial) {
		select {
		case <-ran:
		case <-time.After(30 * time.Second):
			t.failf("the other trial did not run")
		}
	}}
	works := scenario{name: "works", run: func(*trial) { close(ran) }}
	told := 0
	runAll([]job{{&waits, ready, ready}, {&works, ready, ready}}, 1, func(o outcome) {
		told++
		if o.fault != "" {
			t.Error(o.scenario.name, o.fault)
		}
		if o.spent["ready"] <= 0 {
			t.Error("no processor time is told of the testee")
		}
	})
	if told != 2 {
		t.Errorf("%d outcomes, want 2", told)
	}
}
