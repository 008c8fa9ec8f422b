package main

import (
	"os"
	"regexp"
	"strings"
	"testing"
)

// otherHeadings are those of docs/protocol.md under which no client that the suite judges has a rule.
var otherHeadings = map[string]string{
	"The Rollcall protocol": "the title",
	"The line format":       "is for people with telnet or nc, and not for these clients",
	"What a client writes":  "is of the line format",
	"What the server sends": "is of the line format",
	"UDP":                   "is optional, and only Go's client has it",
	"Datagrams beside TLS":  "is optional, and only Go's client has it",
}

// Each heading of the protocol that binds clients has a scenario, and each scenario is under a heading.
func TestEachHeadingHasAScenario(t *testing.T) {
	text, err := os.ReadFile("../../docs/protocol.md")
	if err != nil {
		t.Fatal(err)
	}
	unjudged := map[string]bool{}
	code := false
	for line := range strings.Lines(string(text)) {
		if strings.HasPrefix(line, "```") {
			code = !code
		}
		if m := regexp.MustCompile(`^#+ (.*)\n`).FindStringSubmatch(line); m != nil && !code {
			unjudged[m[1]] = true
		}
	}
	for heading := range otherHeadings {
		if !unjudged[heading] {
			t.Errorf("otherHeadings has %q, which docs/protocol.md has not", heading)
		}
		delete(unjudged, heading)
	}
	known, names := map[string]bool{}, map[string]bool{}
	for heading := range unjudged {
		known[heading] = true
	}
	for _, s := range scenarios() {
		if !known[s.heading] {
			t.Errorf("the scenario %s is under the heading %q, which docs/protocol.md has not, or which binds no client", s.name, s.heading)
		}
		if names[s.name] || s.rule == "" || s.run == nil {
			t.Errorf("the scenario %s is there twice, or has no rule", s.name)
		}
		names[s.name] = true
		delete(unjudged, s.heading)
	}
	for heading := range unjudged {
		t.Errorf("the heading %q of docs/protocol.md has no scenario", heading)
	}
	if len(names) < 45 {
		t.Errorf("there are %d scenarios", len(names))
	}
}
