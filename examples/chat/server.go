package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"time"

	"github.com/rollcall-go/rollcall/bridge"
	"github.com/rollcall-go/rollcall/engine"
	"github.com/rollcall-go/rollcall/protocol"
	"github.com/rollcall-go/rollcall/push"
	"github.com/rollcall-go/rollcall/usermgr"
)

func server(ctx context.Context, args []string) error {
	flags := flag.NewFlagSet("chat server", flag.ExitOnError)
	listen := flags.String("listen", "127.0.0.1:9000", "TCP address")
	grace := flags.Duration("grace", 2*time.Second, "how long a user may be gone before the others are told")
	page := flags.Int("page", 20, "users on a page of /who")
	_ = flags.Parse(args)

	users := usermgr.New(usermgr.Config{Devices: usermgr.OnePerDevice(), OfflineGrace: *grace})
	srv := engine.New(engine.Config{Addr: *listen, Workers: 16}) // a kick waits for the outcome, so handlers may block
	b := bridge.Attach(srv, users, bridge.Config{Relay: &bridge.Relay{}})
	pushes := push.New()
	pushes.Register("engine", push.NewEngine(b))

	tellEveryone := func(text string) { pushes.Push(ctx, push.ToEveryone(), push.Notification(text)) }
	users.Subscribe(usermgr.Handlers{
		Online:  func(u usermgr.UserData) { tellEveryone(u.UserID + " is online") },
		Offline: func(u usermgr.UserData) { tellEveryone(u.UserID + " is gone") },
	})

	srv.Handle(say, func(c *engine.Conn, m *protocol.Message) { // without a destination: to everyone
		_, _ = srv.Broadcast(srv.Conns(), &protocol.Message{Type: say, UserID: m.UserID, Body: m.Body})
	})
	srv.Handle(who, engine.Typed(engine.JSON, func(_ *engine.Conn, _ *protocol.Message, req whoRequest) (whoReply, error) {
		p, err := users.UserPage(usermgr.PageQuery{Cursor: req.Next, Limit: *page})
		if err != nil {
			return whoReply{}, &protocol.CloseError{Code: protocol.Refused, Text: err.Error()}
		}
		reply := whoReply{Online: users.Count(), Next: p.Next}
		for _, u := range p.Items {
			reply.Users = append(reply.Users, u.UserID)
		}
		return reply, nil
	}))
	srv.Handle(devices, engine.Typed(engine.JSON, func(_ *engine.Conn, m *protocol.Message, _ nothing) (devicesReply, error) {
		var reply devicesReply
		for _, s := range users.Sessions(m.UserID) {
			reply.Devices = append(reply.Devices, fmt.Sprintf("%s from %s since %s",
				deviceName(s.Device), s.Address.Remote, s.LogonTime.Format(time.TimeOnly)))
		}
		return reply, nil
	}))
	srv.Handle(kick, engine.Typed(engine.JSON, func(_ *engine.Conn, m *protocol.Message, req kickRequest) (kickReply, error) {
		if req.User == m.UserID {
			return kickReply{}, &protocol.CloseError{Code: protocol.Refused, Text: "type /quit to leave"}
		}
		wait, cancel := context.WithTimeout(ctx, 5*time.Second)
		defer cancel()
		result, err := pushes.Kick(wait, req.User, usermgr.KickOptions{Text: req.Reason})
		if err != nil {
			return kickReply{}, &protocol.CloseError{Code: protocol.Refused, Text: err.Error()}
		}
		var reply kickReply
		for _, k := range result.Kicked {
			reply.Sessions = append(reply.Sessions, fmt.Sprintf("%s on %s: %s", req.User, deviceName(k.Session.Device), k.Outcome))
		}
		return reply, nil
	}))

	if err := srv.Listen(); err != nil {
		return err
	}
	fmt.Fprintf(os.Stderr, "listening on %s; everybody may kick everybody here\n", srv.Addrs()[0])
	err := srv.Run(ctx)
	fmt.Fprintln(os.Stderr, "stopped:", srv.StopReport())
	closing, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	if closeErr := users.Close(closing); err == nil {
		err = closeErr
	}
	return err
}
