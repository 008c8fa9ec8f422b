//go:build linux

package main

import (
	"bufio"
	"fmt"
	"os"
	"strconv"
	"strings"
	"sync"
)

// pusher makes a server send without requests, as standard input says:
//
//	push G W              send by G goroutines, with W messages under way at most
//	ack N                N messages of this push have been received
//	stop                 stop; the answer is "sent", and how many
type pusher struct {
	// send sends n messages: to connection at, then to every step-th one. It returns where to go on.
	send func(at, step int) int
	n    int

	mu      sync.Mutex
	room    *sync.Cond // signalled when acked or stopped changes
	window  int
	sent    int // handed out to the goroutines
	acked   int
	stopped bool
	running sync.WaitGroup
}

// obey does what standard input says until it ends.
func (p *pusher) obey() error {
	p.room = sync.NewCond(&p.mu)
	for in := bufio.NewScanner(os.Stdin); in.Scan(); {
		words := strings.Fields(in.Text())
		args := make([]int, len(words)-1)
		for i, w := range words[1:] {
			n, err := strconv.Atoi(w)
			if err != nil {
				return err
			}
			args[i] = n
		}
		switch words[0] {
		case "push":
			p.start(args[0], args[1])
		case "ack":
			p.mu.Lock()
			p.acked = args[0]
			p.mu.Unlock()
			p.room.Broadcast()
		case "stop":
			fmt.Fprintln(os.Stderr, "sent", p.stop())
		}
	}
	return nil
}

func (p *pusher) start(goroutines, window int) {
	p.window, p.sent, p.acked, p.stopped = window, 0, 0, false
	for g := range goroutines {
		p.running.Go(func() {
			for at := g; p.mayTake(); {
				at = p.send(at, goroutines)
			}
		})
	}
}

// mayTake waits until the window has room for n messages more, and takes it. It reports false when the push is over.
func (p *pusher) mayTake() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	for p.sent-p.acked+p.n > p.window && !p.stopped {
		p.room.Wait()
	}
	if p.stopped {
		return false
	}
	p.sent += p.n
	return true
}

func (p *pusher) stop() (sent int) {
	p.mu.Lock()
	p.stopped = true
	p.mu.Unlock()
	p.room.Broadcast()
	p.running.Wait()
	return p.sent
}

// atATime is how many messages a goroutine sends before it looks at the window again.
const atATime = 50

// roundRobin has each goroutine send to connections of its own, one after the other, over and over.
func roundRobin(conns int, sendTo func(i int)) *pusher {
	return &pusher{n: atATime, send: func(at, step int) int {
		for range atATime {
			sendTo(at)
			if at += step; at >= conns {
				at %= step
			}
		}
		return at
	}}
}

// toAll sends every message to all connections.
func toAll(conns int, sendToAll func()) *pusher {
	return &pusher{n: conns, send: func(at, _ int) int {
		sendToAll()
		return at
	}}
}
