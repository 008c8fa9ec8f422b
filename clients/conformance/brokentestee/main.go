// Brokentestee is the testee of a small client that can be broken on purpose, to see that the suite notices: -break NAME makes it break one rule.
// Without -break it keeps to docs/protocol.md. It speaks raw frames, and is no client to copy: its parts stand where they are easily broken.
package main

import (
	"flag"
	"fmt"
	"os"

	"github.com/rollcall-go/rollcall/clients/conformance/testee"
)

// faults are the rules that can be broken.
var faults = map[string]string{
	"no-jitter":               "waits for the whole limit of the backoff",
	"half-jitter":             "waits for half of the limit at least",
	"backoff-from-each-logon": "begins the backoff anew after each logon",
	"comes-back-after-2xxx":   "reconnects after codes that forbid it",
	"ends-after-3xxx":         "does not reconnect after codes of the application that ask for it",
	"ends-when-online":        "gives up when its own dead connection is still online",
	"forgets-the-session":     "does not send the last session's ID",
	"session-at-dial":         "sends the last session's ID although a person dialled",
	"token-once":              "asks for one token, and sends it again and again",
	"ignores-retry-ms":        "comes back before the server asked for it",
	"ignores-address":         "comes back to the server that has named another one",
	"stays-at-the-address":    "does not go back to its own address",
	"acknowledges-early":      "acknowledges a push before the handler returns",
	"push-twice":              "hands out a push that comes again",
	"loses-acks":              "does not acknowledge on the next connection",
	"beats-late":              "sends heartbeats after four times the interval",
	"never-asks":              "does not notice a server that is gone",
	"answers-twice":           "answers a request twice",
	"no-answer":               "does not answer a request without a handler",
	"any-users-reply":         "takes a reply from a user who was not asked",
	"numbers-from-1":          "numbers its requests from 1",
	"too-large":               "sends bodies over max-body",
	"reset-at-close":          "does not read until the end when it closes",
	"bad-frames":              "ignores a frame that breaks the rules",
	"any-name":                "takes a certificate for another name",
	"any-authority":           "takes a certificate of any authority",
	"shows-the-session":       "prints the session's ID",
}

var broken = flag.String("break", "", "the rule that is broken")

// breaks reports whether this rule is broken.
func breaks(name string) bool {
	if faults[name] == "" {
		panic("there is no fault " + name)
	}
	return *broken == name
}

func main() {
	flag.Parse()
	if *broken != "" && faults[*broken] == "" {
		fmt.Fprintln(os.Stderr, "brokentestee: there is no fault", *broken)
		os.Exit(2)
	}
	testee.Tell(testee.Event{"event": "ready", "language": "broken", "transports": []string{"tcp", "tls"}, "lacks": []string{"renew"}})
	c := &client{}
	testee.Run(func(cmd *testee.Command) {
		if cmd.Do != "dial" {
			c.do(cmd)
			return
		}
		before := c
		c = newClient(cmd)
		if breaks("session-at-dial") {
			c.session = before.session
		}
		go c.run()
	})
	c.close()
	if c.done != nil {
		<-c.done
	}
}
