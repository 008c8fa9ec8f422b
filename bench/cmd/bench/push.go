//go:build linux

package main

import (
	"fmt"
	"strings"
	"time"

	"github.com/rollcall-go/rollcall/bench/internal/load"
	"github.com/rollcall-go/rollcall/bench/internal/report"
	"github.com/rollcall-go/rollcall/bench/internal/wire"
)

const (
	pushConns = 1000
	pushSize  = 64
)

var (
	asyncWrite      = kind("gnet AsyncWrite", wire.Rollcall, "gnet-push", "-conns", fmt.Sprint(pushConns), "-size", fmt.Sprint(pushSize))
	asyncWriteAgain = renamed(asyncWrite, "gnet AsyncWrite, again")
	minimalPush     = kind("minimal", wire.Rollcall, "minimal-push", "-conns", fmt.Sprint(pushConns), "-size", fmt.Sprint(pushSize))
	connSend        = kind("Rollcall Conn.Send", wire.Rollcall, "rollcall-push", "-conns", fmt.Sprint(pushConns), "-size", fmt.Sprint(pushSize))
	bridgeSend      = kind("Rollcall Bridge.Send", wire.Rollcall, "rollcall-push", "-by", "user", "-conns", fmt.Sprint(pushConns), "-size", fmt.Sprint(pushSize))
)

func renamed(p peer, name string) peer {
	p.name = name
	return p
}

// pushCell is one of the ways in which the push is measured.
type pushCell struct {
	goroutines int
	underWay   int // messages that may be under way, a connection
}

func (c pushCell) String() string {
	what := "1 goroutine"
	if c.goroutines > 1 {
		what = fmt.Sprintf("%d goroutines", c.goroutines)
	}
	return fmt.Sprintf("%s, %d messages a connection under way", what, c.underWay)
}

// push measures how many messages a second a server sends without a request.
func push(b *bench) (report.Section, error) {
	s := report.Section{Intro: fmt.Sprintf(`
Goroutines of the server send messages of %d B to %s connections, round robin, and are counted where they are received.
The receivers tell the server how many have come, and it stops for a while when too many are under way: otherwise the
fastest queue would look best. How many that may be makes a difference, to gnet most of all, so there are two depths.
Conn.Send is given the connection, Bridge.Send a user's ID. gnet's AsyncWrite is called once a message, with a
frame that was built beforehand. minimal encodes each message into a queue of its connection's, under a lock, wakes the event
loop once for all that wait by then, and makes one Write of what a queue holds.`, pushSize, report.Count(pushConns))}
	cells := []pushCell{{1, 64}, {8, 64}, {1, 256}, {8, 256}}
	if b.short {
		cells = cells[:2]
	}
	// gnet's event loop may work for long before a message arrives.
	length := max(b.length, time.Second/2)
	var body strings.Builder
	for _, cell := range cells {
		all := b.enter([]peer{asyncWriteAgain, asyncWrite, minimalPush, connSend, bridgeSend}, pushConns, pushSize)
		b.alternate(all, func(c *contestant) (load.Result, error) {
			return c.group.Receive(fmt.Sprint(cell.goroutines), cell.underWay*pushConns, b.warmUp, length)
		})
		leave(all)
		fmt.Fprintf(&body, "### %v\n\n%s\n", cell, rateTable("messages", all, find(all, asyncWrite), find(all, minimalPush)))
		s.Targets = append(s.Targets, atLeast(cell.String(), find(all, connSend), find(all, asyncWrite), 40, find(all, minimalPush)))
	}
	s.Body = body.String()
	return s, nil
}
