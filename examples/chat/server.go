package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"sync"
	"time"

	"github.com/rollcall-go/rollcall"
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

	srv, err := rollcall.New(rollcall.Config{
		Addr:   *listen,
		Users:  usermgr.Config{Devices: usermgr.Devices{OnePerClass: true}, OfflineGrace: *grace},
		Bridge: bridge.Config{Relay: &bridge.Relay{}},
	})
	if err != nil {
		return err
	}
	users, pushes := srv.Users, push.New(srv.Bridge)

	tellEveryone := func(text string) { pushes.Go(push.ToEveryone(), push.Notification(text), nil, nil) }
	users.Subscribe(usermgr.Events{
		Online:  func(u usermgr.UserData) { tellEveryone(u.UserID + " is online") },
		Offline: func(u usermgr.UserData) { tellEveryone(u.UserID + " is gone") },
	})

	srv.Handle(say, func(c *engine.Conn, m *protocol.Message) error { // without a destination: to everyone
		_, _ = srv.Broadcast(srv.Conns(), &protocol.Message{Type: say, UserID: m.UserID, Body: m.Body}, nil)
		return nil
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
		me, _ := users.User(m.UserID)
		for _, s := range me.Sessions {
			reply.Devices = append(reply.Devices, fmt.Sprintf("%s from %s since %s",
				deviceName(s.Device), s.Address, s.LogonTime.Format(time.TimeOnly)))
		}
		return reply, nil
	}))
	var kicks sync.WaitGroup
	srv.Handle(kick, func(c *engine.Conn, m *protocol.Message) error {
		var req kickRequest
		if err := engine.JSON.Unmarshal(m.Body, &req); err != nil {
			return protocol.Errorf(protocol.Refused, "%v", err)
		}
		if req.User == m.UserID {
			return protocol.Errorf(protocol.Refused, "type /quit to leave")
		}
		m = m.Clone() // it outlives the handler, in which two who kick each other would wait for each other
		kicks.Go(func() { throwOut(ctx, pushes, c, m, req) })
		return nil
	})

	if err := srv.Listen(); err != nil {
		return err
	}
	fmt.Fprintf(os.Stderr, "listening on %s; everybody may kick everybody here\n", srv.Addrs()[0])
	err = srv.Run(ctx)
	kicks.Wait()
	fmt.Fprintln(os.Stderr, "stopped:", srv.Stats().Stop)
	closing, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	return errors.Join(err, pushes.Close(closing))
}

// throwOut answers a request for a kick when its outcome is known.
func throwOut(ctx context.Context, pushes *push.Service, c *engine.Conn, m *protocol.Message, req kickRequest) {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	result, err := pushes.Kick(ctx, req.User, &usermgr.KickOptions{Text: req.Reason})
	var body []byte
	if err == nil {
		var reply kickReply
		for _, k := range result.Kicked {
			reply.Sessions = append(reply.Sessions, fmt.Sprintf("%s on %s: %s", req.User, deviceName(k.Session.Device), k.Outcome))
		}
		body, err = engine.JSON.Marshal(reply)
	}
	if err != nil {
		_ = c.ReplyError(m, protocol.Errorf(protocol.Refused, "%v", err))
		return
	}
	_ = c.Reply(m, body)
}
