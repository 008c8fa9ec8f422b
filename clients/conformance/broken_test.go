package main

import (
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"
)

// noticedBy says which scenario notices each fault that the broken client can have.
var noticedBy = map[string]string{
	"no-jitter":               "backoff",
	"half-jitter":             "backoff",
	"backoff-from-each-logon": "backoff-grows",
	"comes-back-after-2xxx":   "codes-that-end",
	"ends-after-3xxx":         "codes-that-come-back",
	"ends-when-online":        "already-logged-on",
	"forgets-the-session":     "session-comes-back",
	"session-at-dial":         "session-comes-back",
	"token-once":              "token-each-time",
	"ignores-retry-ms":        "retry-ms",
	"ignores-address":         "address",
	"stays-at-the-address":    "address-fails",
	"acknowledges-early":      "push-after-the-handler",
	"push-twice":              "push-twice",
	"loses-acks":              "push-acknowledged-later",
	"beats-late":              "heartbeats-in-time",
	"never-asks":              "dead-server",
	"answers-twice":           "server-asks",
	"no-answer":               "no-handler",
	"any-users-reply":         "only-who-was-asked",
	"numbers-from-1":          "random-ids",
	"too-large":               "small-max-body",
	"reset-at-close":          "close-reads-to-the-end",
	"bad-frames":              "bad-frames",
	"any-name":                "tls-wrong-name",
	"any-authority":           "tls-unknown-authority",
	"shows-the-session":       "secrets",
}

// The suite notices each of these faults, by the rule that is broken. The client without a fault passes.
func TestTheSuiteNoticesWhatIsBroken(t *testing.T) {
	t.Parallel()
	program := filepath.Join(t.TempDir(), "brokentestee")
	if out, err := exec.Command("go", "build", "-o", program, "./brokentestee").CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	all := jobs([]testee{{name: "sound", command: quoted(program)}}, regexp.MustCompile(""), 1)
	const patience = 5 * time.Second // a broken client is to fail, and soon
	for fault, name := range noticedBy {
		i := slices.IndexFunc(all, func(j job) bool { return j.scenario.name == name })
		if i < 0 {
			t.Fatalf("there is no scenario %s", name)
		}
		all = append(all, job{scenario: all[i].scenario, testee: testee{fault, quoted(program) + " -break " + fault, patience}})
	}
	runAll(all, 24, func(o outcome) {
		t.Run(o.testee+"/"+o.scenario.name, func(t *testing.T) {
			if strings.HasPrefix(o.testee, "sound") {
				if o.fault != "" {
					t.Error(o.failed())
				}
				return
			}
			for again := 0; o.fault == "" && again < 2; again++ { // what is random, or late on a busy machine, may look right once
				o = o.scenario.try(testee{o.testee, quoted(program) + " -break " + o.testee, patience}, testee{})
			}
			if o.fault == "" {
				t.Errorf("the client is broken (%s), and passes %s", o.testee, o.scenario.name)
			} else if !strings.Contains(o.failed(), o.scenario.rule) {
				t.Errorf("the report does not name the rule: %s", o.failed())
			}
		})
	})
}
