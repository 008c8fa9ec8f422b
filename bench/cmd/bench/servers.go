//go:build linux

package main

import (
	"fmt"
	"net"

	"github.com/rollcall-go/rollcall/bench/internal/process"
	"github.com/rollcall-go/rollcall/bench/internal/wire"
)

// peer is a server that can be measured.
type peer struct {
	name    string
	dialect wire.Dialect
	// command returns a program and its arguments.
	command func(b *bench, addr string, loops int) []string
	scheme  string // what its address begins with: wire.Scheme, or nothing for TCP
}

// kind is a peer that cmd/server is.
func kind(name string, d wire.Dialect, args ...string) peer {
	return peer{name: name, dialect: d, command: func(b *bench, addr string, loops int) []string {
		return append([]string{b.program("server"), args[0], "-addr", addr, "-loops", fmt.Sprint(loops)}, args[1:]...)
	}}
}

var (
	rawGnet     = kind("raw gnet", wire.Rollcall, "raw")
	byHand      = kind("by hand", wire.Rollcall, "byhand")
	byHandAgain = kind("by hand, again", wire.Rollcall, "byhand")
	minimal     = kind("minimal", wire.Rollcall, "minimal")
	plainNet    = kind("net", wire.Rollcall, "net")
	nbio        = kind("nbio", wire.Rollcall, "nbio")
	zinx        = kind("zinx", wire.Zinx, "zinx")

	// Idle users must not time out while the others are measured.
	rollcall = peer{name: "Rollcall", dialect: wire.Rollcall, command: func(b *bench, addr string, loops int) []string {
		return []string{b.program("echo"), "-addr", addr, "-loops", fmt.Sprint(loops), "-heartbeat-timeout", "10m"}
	}}
	epollC = peer{name: "C epoll", dialect: wire.Rollcall, command: func(b *bench, addr string, _ int) []string {
		_, port, _ := net.SplitHostPort(addr)
		return []string{b.program("epoll"), port}
	}}
)

// echoPeers are all servers that echo. Those that are compared most closely come together.
func (b *bench) echoPeers() []peer {
	all := []peer{byHandAgain, byHand, minimal, rollcall, rawGnet}
	if b.noC == "" {
		all = append(all, epollC)
	}
	return append(all, nbio, plainNet, zinx)
}

// start starts a server with one event loop on the servers' processor.
func (b *bench) start(p peer) (*process.Process, error) {
	return b.startLoops(p, 1, b.serverCPUs(1))
}

func (b *bench) startLoops(p peer, loops int, cpus []int) (*process.Process, error) {
	addr, err := freeAddr()
	if err != nil {
		return nil, err
	}
	command := p.command(b, addr, loops)
	return process.Start(cpus, p.scheme, command[0], command[1:]...)
}

// serverCPUs returns the processors of a server with n event loops: not the generator's, if there are others.
func (b *bench) serverCPUs(n int) []int {
	return b.cpus[:min(n, len(b.cpus))]
}

// freeAddr returns an address that no socket listens on.
func freeAddr() (string, error) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	defer func() { _ = ln.Close() }()
	return ln.Addr().String(), nil
}
