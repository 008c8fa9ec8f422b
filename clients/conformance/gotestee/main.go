// Gotestee is the testee of Go's client, package client. docs/writing-a-client.md describes what it speaks.
package main

import (
	"bufio"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"os"
	"sync"
)

// command is one line of standard input.
type command struct {
	Do, Tag, Address, User, To, Body, Text, CA, Push string

	Device, Type uint16
	Fields       map[string]string
	Tokens       []string
	Types        []uint16
	Users        []string
	Hold         bool
	Size         int
	Code         int
	Request      int
	MinMS        int `json:"min_ms"`
	MaxMS        int `json:"max_ms"`
	MaxBody      int `json:"max_body"`
	TimeoutMS    int `json:"timeout_ms"`
}

// bytes returns the body that the command names.
func (c *command) bytes() []byte {
	if c.Size > 0 {
		return make([]byte, c.Size)
	}
	b, _ := hex.DecodeString(c.Body)
	return b
}

// event is one line of standard output.
type event map[string]any

var output sync.Mutex

// tell writes an event.
func tell(e event) {
	line, err := json.Marshal(e)
	if err != nil {
		panic(err)
	}
	output.Lock()
	defer output.Unlock()
	_, _ = os.Stdout.Write(append(line, '\n'))
}

func main() {
	tell(event{"event": "ready", "language": "go", "transports": []string{"tcp", "tls", "ws", "wss"}, "lacks": []string{"stable"}})
	var s session
	in := bufio.NewReaderSize(os.Stdin, 1<<20)
	for {
		line, err := in.ReadBytes('\n')
		if err != nil {
			break
		}
		var c command
		if err := json.Unmarshal(line, &c); err != nil {
			fmt.Fprintln(os.Stderr, "gotestee:", err)
			os.Exit(2)
		}
		s.do(&c)
	}
	s.close()
}
