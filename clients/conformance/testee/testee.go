// Package testee is what the testees in Go have in common: they read commands from standard input, and write events to standard output.
// docs/writing-a-client.md describes both.
package testee

import (
	"bufio"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"os"
	"sync"
)

// Command is one line of standard input.
type Command struct {
	Do, Tag, Address, User, To, Body, Text, CA, Push string

	Device, Type uint16
	Fields       map[string]string
	Tokens       []string
	Types        []uint16
	Users        []string
	Hold         bool
	Size         int
	Code         uint16
	Request      int
	MinMS        int `json:"min_ms"`
	MaxMS        int `json:"max_ms"`
	StableMS     int `json:"stable_ms"`
	MaxBody      int `json:"max_body"`
	TimeoutMS    int `json:"timeout_ms"`
}

// Bytes returns the body that the command names.
func (c *Command) Bytes() []byte {
	if c.Size > 0 {
		return make([]byte, c.Size)
	}
	b, _ := hex.DecodeString(c.Body)
	return b
}

// Event is one line of standard output.
type Event map[string]any

var output sync.Mutex

// Tell writes an event. It may be called from any goroutine.
func Tell(e Event) {
	line, err := json.Marshal(e)
	if err != nil {
		panic(err)
	}
	output.Lock()
	defer output.Unlock()
	_, _ = os.Stdout.Write(append(line, '\n'))
}

// Run calls do for each command, one after the other, until standard input ends. A line that is no command ends the program with the status 2.
func Run(do func(c *Command)) {
	in := bufio.NewReaderSize(os.Stdin, 1<<20)
	for {
		line, err := in.ReadBytes('\n')
		if err != nil {
			return
		}
		c := new(Command)
		if err := json.Unmarshal(line, c); err != nil {
			fmt.Fprintln(os.Stderr, "testee:", err)
			os.Exit(2)
		}
		do(c)
	}
}
