// Lines is a chat for people with telnet or nc. Start it, then in two terminals:
//
//	nc 127.0.0.1 9000          telnet 127.0.0.1 9000
//	alice                      bob
//	@bob are you there?        hello, all
package main

import (
	"context"
	"flag"
	"log"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/rollcall-go/rollcall"
	"github.com/rollcall-go/rollcall/bridge"
	"github.com/rollcall-go/rollcall/engine"
	"github.com/rollcall-go/rollcall/protocol"
	"github.com/rollcall-go/rollcall/usermgr"
)

const text = 1 // the type of a line

func main() {
	addr := flag.String("addr", "127.0.0.1:9000", "TCP address to listen on")
	allowed := flag.Duration("silence", -1, "how long a person may say nothing, not even Enter; negative for ever")
	flag.Parse()
	srv, err := rollcall.New(rollcall.Config{
		Engine: engine.Config{
			Listeners: []engine.Listener{{Addr: *addr, Codec: protocol.Line}},
			Timeouts:  engine.Timeouts{KeepAlive: 30 * time.Second}, // TCP finds machines that are gone; a heartbeat finds more
		},
		Users: usermgr.Config{HeartbeatTimeout: *allowed},
		Bridge: bridge.Config{Relay: &bridge.Relay{ // @bob goes to bob
			Undelivered: func(from *engine.Conn, m *protocol.Message) {
				if m.ID == 0 { // a person's: there is no request that could be answered
					_ = from.Send(text, []byte(m.DestUserID+" is not here"))
				}
			},
		}},
	})
	if err != nil {
		log.Fatal(err)
	}
	srv.Handle(text, func(_ *engine.Conn, m *protocol.Message) error { // to everybody, the sender too
		_, _ = srv.Broadcast(srv.Conns(), &protocol.Message{Type: text, UserID: m.UserID, Body: m.Body}, nil)
		return nil
	})

	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := srv.Listen(); err != nil {
		log.Fatal(err)
	}
	log.Print("listening on ", srv.Addrs()[0])
	if err := srv.Run(ctx); err != nil {
		log.Fatal(err)
	}
}
