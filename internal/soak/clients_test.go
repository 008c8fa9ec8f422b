//go:build linux

package soak

import (
	"fmt"
	"io"
	"os"
	"sync"
	"time"

	"github.com/rollcall-go/rollcall/protocol"
)

// crowd are the users of a client process.
type crowd struct {
	At     target
	Prefix string
	Users  int
	Every  time.Duration // how often each sends
	Deaf   bool          // every second one does not read, so that its end is a reset where the server sends
}

// clientsMain logs users on, prints "ready", and has each of them send until its input ends.
func clientsMain() {
	var c crowd
	childIsTold(&c)
	over := make(chan struct{})
	var on, running sync.WaitGroup
	for i := range c.Users {
		on.Add(1)
		running.Go(func() {
			p, err := dial(c.At)
			if err == nil {
				_, err = p.logOn(fmt.Sprint(c.Prefix, i))
			}
			on.Done()
			if err != nil {
				fmt.Fprintln(os.Stderr, "a client:", err)
				return
			}
			if !c.Deaf || i%2 == 0 {
				go func() { _, _ = p.hearOut() }()
			}
			for p.write(frame(&protocol.Message{Type: note, Body: []byte("still here")})) == nil {
				select {
				case <-over:
					_ = p.Close()
					return
				case <-time.After(c.Every):
				}
			}
		})
	}
	on.Wait()
	fmt.Println("ready")
	_, _ = io.Copy(io.Discard, os.Stdin)
	close(over)
	running.Wait()
}

// halfwayMain is one user, whose cable is pulled in the middle of a frame: it logs on, sends the first half of one, prints
// "half", and waits for its input's end.
func halfwayMain() {
	var c crowd
	childIsTold(&c)
	p, err := dial(c.At)
	if err == nil {
		_, err = p.logOn(c.Prefix)
	}
	if err == nil {
		b := frame(&protocol.Message{Type: note, Body: make([]byte, 200)})
		err = p.write(b[:len(b)/2])
	}
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println("half")
	_, _ = io.Copy(io.Discard, os.Stdin)
	p.reset()
}
