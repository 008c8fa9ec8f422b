package main

import (
	"bufio"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/rollcall-go/rollcall/client"
	"github.com/rollcall-go/rollcall/protocol"
)

// demoLease is short, so that the demo is too. A cluster's is longer, so that a failover of its store ends no session.
const demoLease = 3 * time.Second

// demo is a cluster of processes on this machine, and what is needed to end it.
type demo struct {
	redis  *exec.Cmd
	port   string
	folder string
	nodes  map[string]*demoNode
	print  sync.Mutex
}

// demoNode is a node in a process of its own, which is this program.
type demoNode struct {
	cmd   *exec.Cmd
	addr  string
	ended chan struct{} // closed when the process has ended, and all that it has printed was read
}

// runDemo tells the story.
func runDemo(ctx context.Context) (err error) {
	d := &demo{nodes: make(map[string]*demoNode)}
	defer func() { err = errors.Join(err, d.end()) }()
	if d.folder, err = os.MkdirTemp("", "rollcall-demo"); err != nil {
		return err
	}
	if d.port, err = freePort(); err != nil {
		return err
	}
	d.say("A redis-server starts on port %s, without persistence.", d.port)
	if err := d.startRedis(); err != nil {
		return err
	}
	d.say("Three nodes start. The first waits for a lease, %v, since the store might have lost something.", demoLease)
	if err := d.startNodes(ctx, "a", "b", "c"); err != nil {
		return err
	}
	return d.story(ctx)
}

func (d *demo) story(ctx context.Context) error {
	all := d.nodes["a"].addr + "," + d.nodes["b"].addr + "," + d.nodes["c"].addr
	d.say("Alice logs on at node a, and Bob at node b. He knows all nodes, in case his goes away.")
	alice, err := d.logOn(ctx, "alice", "alice", d.nodes["a"].addr, false)
	if err != nil {
		return err
	}
	defer alice.Close()
	bob, err := d.logOn(ctx, "bob", "bob", d.nodes["b"].addr+","+all, true)
	if err != nil {
		return err
	}
	defer bob.Close()

	d.say("Alice writes to Bob, over two nodes.")
	if err := d.ask(ctx, alice, "bob", "lunch at noon?"); err != nil {
		return err
	}

	d.say("Alice logs on at node c, with her phone. One user has one session in the cluster: the new one pushes out the old one, at node a.")
	phone, err := d.logOn(ctx, "alice's phone", "alice", d.nodes["c"].addr, false)
	if err != nil {
		return err
	}
	defer phone.Close()
	if err := wait(ctx, alice.Done()); err != nil {
		return err
	}

	d.say("Node b is killed (kill -9). Bob comes back elsewhere when its lease is over: until then no node can know that it is dead.")
	killed := time.Now()
	old := bob.SessionID()
	_ = d.nodes["b"].cmd.Process.Kill()
	if err := d.until(ctx, func() bool { return bob.State() == client.Online && bob.SessionID() != old }); err != nil {
		return err
	}
	d.note("bob", "I am back after %.1f s", time.Since(killed).Seconds())
	if err := d.ask(ctx, phone, "bob", "where have you been?"); err != nil {
		return err
	}

	d.say("Redis is stopped, and started again with nothing in it. Alice and Bob stay; the nodes write their sessions again.")
	_ = d.redis.Process.Signal(syscall.SIGTERM)
	_ = d.redis.Wait()
	if err := d.startRedis(); err != nil {
		return err
	}
	began := time.Now()
	carol, err := d.logOn(ctx, "carol", "carol", d.nodes["a"].addr, true)
	if err != nil {
		return err
	}
	defer carol.Close()
	d.note("carol", "I could log on %.1f s after the start: when all nodes had written their sessions, or a dead one's lease was over", time.Since(began).Seconds())
	if err := d.ask(ctx, carol, "bob", "still there?"); err != nil {
		return err
	}
	return d.ask(ctx, carol, "alice", "and you?")
}

// logOn connects a client that prints what it gets, and how it ends.
func (d *demo) logOn(ctx context.Context, name, user, addr string, returns bool) (*client.Client, error) {
	back := client.Reconnect{Max: -1}
	if returns {
		back = client.Reconnect{Max: time.Second, First: true}
	}
	return client.Dial(ctx, addr, client.Config{
		UserID: user, Reconnect: back,
		HandleDefault: func(c *client.Client, m *protocol.Message) error {
			d.note(name, "%s writes %q", m.UserID, m.Body)
			return c.Reply(m, []byte("got it"))
		},
		OnState: func(_ *client.Client, s client.State, err error) {
			switch {
			case s == client.Closed && !errors.Is(err, client.ErrClosed):
				d.note(name, "it's over: %v", err)
			case s == client.Reconnecting:
				d.note(name, "I try again: %v", err)
			}
		},
	})
}

// ask sends a message from user to user, and prints the answer. While the store recovers users are not found; then it is sent again.
func (d *demo) ask(ctx context.Context, from *client.Client, to, text string) error {
	for {
		within, cancel := context.WithTimeout(ctx, 2*time.Second)
		reply, err := from.RequestTo(within, to, 1, []byte(text))
		cancel()
		switch {
		case err == nil:
			d.note(from.UserID(), "%s answers %q", to, reply.Body)
			return nil
		case ctx.Err() != nil:
			return ctx.Err()
		}
		d.note(from.UserID(), "my message to %s: %v", to, err)
		time.Sleep(500 * time.Millisecond)
	}
}

func (d *demo) startRedis() error {
	d.redis = exec.Command(cmp.Or(os.Getenv("REDIS_SERVER"), "redis-server"), "--bind", "127.0.0.1", "--port", d.port, "--dir", d.folder, "--save", "", "--appendonly", "no",
		"--stop-writes-on-bgsave-error", "no", "--maxmemory-policy", "noeviction", "--hash-max-listpack-value", "256")
	if err := d.redis.Start(); err != nil {
		return fmt.Errorf("%w: install redis-server, 7.0 or later, or let REDIS_SERVER name a program", err)
	}
	for end := time.Now().Add(10 * time.Second); ; time.Sleep(10 * time.Millisecond) {
		c, err := net.Dial("tcp", "127.0.0.1:"+d.port)
		if err == nil {
			return c.Close()
		}
		if time.Now().After(end) {
			return err
		}
	}
}

// startNodes starts nodes, and returns when they are in the cluster.
func (d *demo) startNodes(ctx context.Context, names ...string) error {
	program, err := os.Executable()
	if err != nil {
		return err
	}
	listening := make(chan string, len(names))
	for _, name := range names {
		port, err := freePort()
		if err != nil {
			return err
		}
		n := &demoNode{addr: "127.0.0.1:" + port, ended: make(chan struct{})}
		n.cmd = exec.Command(program, "-redis", "127.0.0.1:"+d.port, "-node", name, "-addr", n.addr, "-lease", demoLease.String(), "-events")
		events, err := n.cmd.StdoutPipe()
		if err != nil {
			return err
		}
		told, err := n.cmd.StderrPipe()
		if err != nil {
			return err
		}
		if err := n.cmd.Start(); err != nil {
			return err
		}
		d.nodes[name] = n
		var reading sync.WaitGroup
		reading.Go(func() { d.tellEvents(events) })
		reading.Go(func() {
			for s := bufio.NewScanner(told); s.Scan(); { // the rest are the nodes' log lines
				if strings.HasPrefix(s.Text(), "listening on") {
					listening <- name
				}
			}
		})
		go func() {
			reading.Wait()
			_ = n.cmd.Wait()
			close(n.ended)
		}()
	}
	for range names {
		select {
		case name := <-listening:
			d.note("node "+name, "I am in the cluster, and listen on %s", d.nodes[name].addr)
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(30 * time.Second):
			return errors.New("the nodes did not come up")
		}
	}
	return nil
}

// tellEvents prints the events of a node in words.
func (d *demo) tellEvents(events io.Reader) {
	for s := bufio.NewScanner(events); s.Scan(); {
		var e event
		if json.Unmarshal(s.Bytes(), &e) != nil {
			continue
		}
		switch who := "node " + e.Node; e.Event {
		case "connected":
			d.note(who, "%s is online, generation %d", e.User, e.Generation)
		case "pushed_out":
			d.note(who, "%s has logged on at another place, and is pushed out here", e.User)
		case "disconnected":
			d.note(who, "%s has left: %v", e.User, e.Cause)
		}
	}
}

// end ends all processes that are left.
func (d *demo) end() error {
	d.say("The nodes stop: their users are told.")
	for _, n := range d.nodes {
		_ = n.cmd.Process.Signal(syscall.SIGTERM)
	}
	for _, n := range d.nodes {
		select {
		case <-n.ended:
		case <-time.After(20 * time.Second):
			_ = n.cmd.Process.Kill()
			<-n.ended
		}
	}
	if d.redis != nil && d.redis.Process != nil {
		_ = d.redis.Process.Kill()
		_ = d.redis.Wait()
	}
	if d.folder == "" {
		return nil
	}
	return os.RemoveAll(d.folder)
}

// until waits for a condition.
func (d *demo) until(ctx context.Context, ok func() bool) error {
	for !ok() {
		select {
		case <-time.After(20 * time.Millisecond):
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return nil
}

func wait(ctx context.Context, ch <-chan struct{}) error {
	select {
	case <-ch:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (d *demo) say(format string, a ...any) {
	d.print.Lock()
	defer d.print.Unlock()
	fmt.Printf("\n"+format+"\n", a...)
}

func (d *demo) note(who, format string, a ...any) {
	d.print.Lock()
	defer d.print.Unlock()
	fmt.Printf("    %-15s"+format+"\n", append([]any{who + ":"}, a...)...)
}

// freePort returns a port of 127.0.0.1 that nothing listens on.
func freePort() (string, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	defer l.Close()
	_, port, err := net.SplitHostPort(l.Addr().String())
	return port, err
}
