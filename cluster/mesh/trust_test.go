package mesh_test

import (
	"context"
	"crypto/tls"
	"errors"
	"math"
	"strings"
	"testing"
	"time"

	"github.com/rollcall-go/rollcall/client"
	"github.com/rollcall-go/rollcall/cluster"
	"github.com/rollcall-go/rollcall/cluster/mesh"
	"github.com/rollcall-go/rollcall/internal/testca"
	"github.com/rollcall-go/rollcall/internal/testkit"
	"github.com/rollcall-go/rollcall/protocol"
)

// mutual returns settings with which both sides need a certificate of the authority.
func mutual(ca *testca.Authority) *tls.Config {
	return &tls.Config{
		Certificates: []tls.Certificate{ca.Issue("node")}, RootCAs: ca.Pool, ClientCAs: ca.Pool,
		ClientAuth: tls.RequireAndVerifyClientCert, MinVersion: tls.VersionTLS12,
	}
}

// Settings with which any program could send frames, or no node could, are refused, and the error says what is missing.
func TestAMeshNeedsProofs(t *testing.T) {
	ca := testca.New(t)
	oneSided := mutual(ca)
	oneSided.ClientAuth = tls.NoClientCert
	for says, cfg := range map[string]mesh.Config{
		"needs an address":   {Secret: secret},
		"needs a Secret":     {Listen: "127.0.0.1:0"},
		"RequireAndVerify":   {Listen: "127.0.0.1:0", TLS: oneSided},
		"16 are needed":      {Listen: "127.0.0.1:0", Secret: secret[1:]},
		"needs Advertise":    {Listen: "0.0.0.0:0", Secret: secret},
		"has no host":        {Listen: "127.0.0.1:0", Advertise: ":9100", Secret: secret},
		"address \"gate-1\"": {Listen: "127.0.0.1:0", Advertise: "gate-1", Secret: secret},
	} {
		m, err := mesh.New(cfg)
		if err == nil {
			m.Close()
		}
		if err == nil || !strings.Contains(err.Error(), says) {
			t.Errorf("the error is %v, want one that says %q", err, says)
		}
	}
	m := testkit.Must(mesh.New(mesh.Config{Listen: ":0", Advertise: "gate-1:9100", Secret: secret}))
	defer m.Close()
	if m.Addr() != "gate-1:9100" {
		t.Errorf("the address is %s", m.Addr())
	}
}

// With a Queue that makes no sense a frame comes too.
func TestAnyQueueHasRoomForAFrame(t *testing.T) {
	for _, n := range []int{-1, 1, math.MinInt, math.MaxInt} {
		from, to := open(t, mesh.Config{Secret: secret, Queue: n}), open(t, mesh.Config{Secret: secret, Queue: n})
		came := make(chan string, 1)
		stop := testkit.Must(to.Open(7, func(frame []byte) { came <- string(frame) }))
		from.Route(map[cluster.Incarnation]string{7: to.Addr()})
		if err := from.Send(7, []byte("1")); err != nil {
			t.Errorf("with Queue %d a frame was refused: %v", n, err)
		} else if got := testkit.Receive(t, "a frame", came); got != "1" {
			t.Errorf("with Queue %d the frame is %q", n, got)
		}
		stop()
	}
}

// A node with another secret, or without the certificate, neither gets frames nor brings any.
func TestNodesOfAnotherClusterGetNoFrames(t *testing.T) {
	ca, other := testca.New(t), testca.New(t)
	for name, pair := range map[string][2]mesh.Config{
		"another secret":        {{Secret: secret}, {Secret: []byte("another secret 16")}},
		"another authority":     {{TLS: mutual(ca)}, {TLS: mutual(other)}},
		"plain TCP against TLS": {{TLS: mutual(ca), Secret: secret}, {Secret: secret}},
	} {
		t.Run(name, func(t *testing.T) {
			a, b := open(t, pair[0].WithSilence(fast)), open(t, pair[1].WithSilence(fast))
			for i, p := range [][2]*mesh.Mesh{{a, b}, {b, a}} {
				from, to := p[0], p[1]
				me := cluster.Incarnation(i + 1)
				stop := testkit.Must(to.Open(me, func([]byte) { t.Error("a frame came") }))
				defer stop()
				from.Route(map[cluster.Incarnation]string{me: to.Addr()})
				testkit.Eventually(t, "the node is not reached", func() bool { return errors.Is(from.Send(me, []byte("frame")), cluster.ErrNoRoute) })
			}
		})
	}
}

// What a program says that has proved nothing reaches no node, and ends its connection. So does a proof that was heard on another connection.
func TestAProgramWithoutAProofBringsNoFrames(t *testing.T) {
	m := open(t, mesh.Config{Secret: secret})
	stop := testkit.Must(m.Open(1, func([]byte) { t.Error("a frame came") }))
	defer stop()
	frame := []byte("\x00\x00\x00\x01\x00\x00\x00\x05frame")
	open := append([]byte{1}, make([]byte, 32)...)
	for name, messages := range map[string][]protocol.Message{
		"at once":                {{Type: 0xFE02, Body: frame}},
		"after the first number": {{Type: 0xFE00, ID: 9, Body: open}, {Type: 0xFE02, Body: frame}},
		"with a wrong proof":     {{Type: 0xFE00, ID: 9, Body: open}, {Type: 0xFE01, ID: 10, Body: make([]byte, 32)}, {Type: 0xFE02, Body: frame}},
		"with two numbers":       {{Type: 0xFE00, ID: 9, Body: open}, {Type: 0xFE00, ID: 10, Body: open}},
		"with an empty proof":    {{Type: 0xFE01, ID: 10}},
	} {
		c := testkit.Must(client.Dial(context.Background(), m.Addr(), client.Config{UserID: "stranger", Reconnect: client.Reconnect{Max: -1}}))
		for _, msg := range messages {
			_ = c.Send(msg.Type, msg.Body)
		}
		testkit.Receive(t, "the end of the connection: "+name, c.Done())
		_ = c.Close()
	}
}

// A program that proves nothing is not kept.
func TestAProgramThatProvesNothingIsNotKept(t *testing.T) {
	m := open(t, mesh.Config{Secret: secret}.WithSilence(fast))
	c := testkit.Must(client.Dial(context.Background(), m.Addr(), client.Config{UserID: "stranger", Reconnect: client.Reconnect{Max: -1}}))
	defer c.Close()
	testkit.Receive(t, "the end of the connection", c.Done())
	var ce *protocol.CloseError
	if !errors.As(c.Err(), &ce) || ce.Code != protocol.LogonTimeout {
		t.Errorf("the connection ended with %v", c.Err())
	}
}

// A connection over which the dialler has proved itself outlasts the time that there is for the proof.
func TestAConnectionWithAProofIsKept(t *testing.T) {
	m, dialler := open(t, mesh.Config{Secret: secret}.WithSilence(fast)), open(t, mesh.Config{Secret: secret}.WithSilence(time.Minute))
	var c *client.Client
	testkit.Eventually(t, "the proof is in time", func() (ok bool) {
		var err error
		c, err = dialler.Connect(m.Addr())
		return err == nil
	})
	defer c.Close()
	select {
	case <-c.Done():
		t.Errorf("it ended with %v", c.Err())
	case <-time.After(2 * fast): // longer than there is for the proof
	}
}

// A connection ends when its dialler has proved itself on another one.
func TestALaterConnectionEndsTheOneBefore(t *testing.T) {
	m, dialler := open(t, mesh.Config{Secret: secret}.WithSilence(time.Minute)), open(t, mesh.Config{Secret: secret}.WithSilence(time.Minute))
	before := testkit.Must(dialler.Connect(m.Addr()))
	defer before.Close()
	later := testkit.Must(dialler.Connect(m.Addr()))
	defer later.Close()
	testkit.Receive(t, "the end of the connection", before.Done())
	var ce *protocol.CloseError
	if !errors.As(before.Err(), &ce) || ce.Code != protocol.PushedOut {
		t.Errorf("it ended with %v", before.Err())
	}
}
