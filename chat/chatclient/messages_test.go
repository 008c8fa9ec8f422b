package chatclient_test

import (
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/rollcall-go/rollcall/chat"
	"github.com/rollcall-go/rollcall/chat/chatclient"
	"github.com/rollcall-go/rollcall/client"
)

// The connections break at random while users write to a group and to each other. What each of them is handed is what is stored. A connection
// breaks after its logon: a logon that reaches the server after the next one pushes that one out, and ends the client.
func TestALostConnectionAnywhereLosesAndDoublesNothing(t *testing.T) {
	w := newWorld(t, chat.Config{})
	ann, bob, eve := w.dial("ann", chatclient.Config{}), w.dial("bob", chatclient.Config{}), w.dial("eve", chatclient.Config{})
	group := w.group(ann, bob, eve)
	const each = 125
	var writers, cutter sync.WaitGroup
	var over atomic.Bool
	for _, p := range []struct {
		*person
		to chatclient.Conversation
	}{{ann, group}, {bob, group}, {ann, chatclient.ToUser("bob")}, {bob, chatclient.ToUser("ann")}} {
		writers.Go(func() {
			for i := range each {
				p.send(p.to, fmt.Sprintf("%s %d", p.Conn().UserID(), i))
			}
		})
	}
	cutter.Go(func() {
		broken := map[string]bool{} // sessions
		for ; !over.Load(); time.Sleep(time.Duration(rand.IntN(10)) * time.Millisecond) {
			if p := []*person{ann, bob, eve}[rand.IntN(3)]; p.Conn().State() == client.Online && !broken[p.Conn().SessionID()] {
				broken[p.Conn().SessionID()] = true
				p.cable.Break()
			}
		}
	})
	writers.Wait()
	over.Store(true)
	cutter.Wait()
	for _, p := range []*person{ann, bob, eve} {
		w.hasAll(p, group, 1)
	}
	w.hasAll(ann, chatclient.ToUser("bob"), 1)
	w.hasAll(bob, chatclient.ToUser("ann"), 1)
	if n := len(w.stored("ann", group)) + len(w.stored("ann", chatclient.ToUser("bob"))); n != 4*each {
		t.Errorf("rule P33: of %d messages %d are stored", 4*each, n)
	}
}
