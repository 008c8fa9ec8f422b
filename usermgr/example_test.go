package usermgr_test

import (
	"context"
	"fmt"
	"net/netip"

	"github.com/rollcall-go/rollcall/protocol"
	"github.com/rollcall-go/rollcall/usermgr"
)

// wire is a connection of a server of one's own. The manager asks for nothing more.
type wire struct{ address usermgr.Address }

func (w wire) Address() usermgr.Address { return w.address }

// Quiesce calls back at once: no message handler of this wire ever runs.
func (w wire) Quiesce(done func()) { done() }

func (w wire) Close(why *protocol.CloseError, done func(protocol.CloseOutcome)) {
	fmt.Printf("%s is closed: %s (%s)\n", w.address, why.Code, why.Text)
	if done != nil {
		done(protocol.OutcomeTold) // the connection has ended
	}
}

// A manager needs no engine. Here ann logs on from a second place, which pushes the first one out, and is kicked.
func Example() {
	users, err := usermgr.New(usermgr.Config{})
	if err != nil {
		fmt.Println(err)
		return
	}
	users.Subscribe(usermgr.Events{
		Connected: func(s usermgr.SessionInfo) {
			fmt.Printf("%s is online from %s\n", s.UserID, s.Address)
		},
		PushedOut: func(old usermgr.SessionInfo, by usermgr.Address) {
			fmt.Printf("%s logged on again from %s\n", old.UserID, by)
		},
		Disconnected: func(s usermgr.SessionInfo, why protocol.CloseCode) {
			fmt.Printf("%s left %s: %s\n", s.UserID, s.Address, why)
		},
	})

	ctx := context.Background()
	for conn, remote := range []string{"192.0.2.1:50100", "192.0.2.2:50200"} {
		w := wire{usermgr.Address{Conn: uint64(conn), Remote: netip.MustParseAddrPort(remote)}}
		if _, err := users.Register(ctx, usermgr.Logon{UserID: "ann", Address: w.address}, w); err != nil {
			fmt.Println(err)
		}
	}
	ann, _ := users.User("ann")
	fmt.Println("ann is at", ann.Sessions[0].Address)

	if _, err := users.Kick("ann", &usermgr.KickOptions{Text: "good night"}); err != nil {
		fmt.Println(err)
	}
	if err := users.Close(ctx); err != nil {
		fmt.Println(err)
	}
	// Output:
	// ann is online from 192.0.2.1:50100
	// ann logged on again from 192.0.2.2:50200
	// ann left 192.0.2.1:50100: PushedOut
	// 192.0.2.1:50100 is closed: PushedOut (the same user logged on again)
	// ann is online from 192.0.2.2:50200
	// ann is at 192.0.2.2:50200
	// ann left 192.0.2.2:50200: KickedOut
	// 192.0.2.2:50200 is closed: KickedOut (good night)
}
