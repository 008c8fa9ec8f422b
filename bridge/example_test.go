package bridge_test

import (
	"context"
	"fmt"
	"net"

	"github.com/rollcall-go/rollcall/bridge"
	"github.com/rollcall-go/rollcall/engine"
	"github.com/rollcall-go/rollcall/protocol"
	"github.com/rollcall-go/rollcall/usermgr"
)

// A server that knows who is online, and a client that logs on, says something and leaves.
func Example() {
	const chat = 1

	users, err := usermgr.New(usermgr.Config{})
	if err != nil {
		fmt.Println(err)
		return
	}
	users.Subscribe(usermgr.Events{
		Connected:    func(s usermgr.SessionInfo) { fmt.Println(s.UserID, "is online") },
		Disconnected: func(s usermgr.SessionInfo, why protocol.CloseCode) { fmt.Println(s.UserID, "left:", why) },
	})
	srv, err := engine.New(engine.Config{Listeners: []engine.Listener{{Addr: "127.0.0.1:0"}}})
	if err != nil {
		fmt.Println(err)
		return
	}
	b, err := bridge.Attach(srv, users, func(_ context.Context, _ *engine.Conn, l usermgr.Logon) (bridge.Identity, error) {
		if l.Fields[protocol.FieldToken] != "secret of "+l.UserID {
			return bridge.Identity{}, &protocol.CloseError{Code: protocol.Unauthorized, Text: "wrong token"}
		}
		return bridge.Identity{UserID: l.UserID}, nil
	}, bridge.Config{})
	if err != nil {
		fmt.Println(err)
		return
	}
	srv.Handle(chat, func(c *engine.Conn, m *protocol.Message) error {
		if err := b.Send(m.DestUserID, m.Type, m.Body); err != nil {
			_ = c.ReplyError(m, err)
		}
		return nil
	})

	if err := srv.Listen(); err != nil {
		fmt.Println(err)
		return
	}
	ctx, stop := context.WithCancel(context.Background())
	ended := make(chan error)
	go func() { ended <- srv.Run(ctx) }()

	visit(srv.Addrs()[0].String(), chat)

	stop()
	fmt.Println("the server has stopped:", <-ended)
	_ = users.Close(context.Background())
	// Output:
	// ann is online
	// ann receives: hello, me
	// ann left: ClientClosed
	// the server has stopped: <nil>
}

// visit is a client, of the simplest kind: it writes frames and reads frames.
func visit(addr string, chat uint16) {
	conn, err := net.Dial("tcp", addr)
	if err != nil {
		fmt.Println(err)
		return
	}
	defer conn.Close()
	fields, _ := protocol.AppendStringMap(nil, map[string]string{protocol.FieldToken: "secret of ann"})
	frames, _ := protocol.Binary.Append(nil, &protocol.Message{Type: protocol.TypeLogon, ID: 1, UserID: "ann", Body: fields})
	frames, _ = protocol.Binary.Append(frames, &protocol.Message{Type: chat, ID: 2, DestUserID: "ann", Body: []byte("hello, me")})
	_, _ = conn.Write(frames)

	var in []byte
	var m protocol.Message
	for m.Type != chat {
		n, _, err := protocol.Binary.Decode(in, &m, protocol.DecodeOptions{})
		if err == nil && n == 0 {
			chunk := make([]byte, 512)
			if n, err = conn.Read(chunk); err == nil {
				in = append(in, chunk[:n]...)
				continue
			}
		}
		if err != nil {
			fmt.Println(err)
			return
		}
		in = in[n:]
	}
	fmt.Printf("ann receives: %s\n", m.Body)
	notice := []byte{0x03, 0xE8, 0, 0} // ClientClosed, and no text
	frames, _ = protocol.Binary.Append(nil, &protocol.Message{Type: protocol.TypeClose, Body: notice})
	_, _ = conn.Write(frames)
	_, _ = conn.Read(make([]byte, 1)) // until the server ends its side, too
}
