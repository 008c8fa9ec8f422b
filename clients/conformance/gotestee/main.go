// Gotestee is the testee of Go's client, package client. docs/writing-a-client.md describes what it speaks.
package main

import "github.com/rollcall-go/rollcall/clients/conformance/testee"

func main() {
	testee.Tell(testee.Event{"event": "ready", "language": "go", "transports": []string{"tcp", "tls", "ws", "wss"}, "lacks": []string{"stable"}})
	var s session
	testee.Run(s.do)
	s.close()
}
