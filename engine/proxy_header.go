package engine

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"time"

	proxyproto "github.com/pires/go-proxyproto"
)

// maxProxyHeader is the largest PROXY header that is read, in bytes: the addresses and the extensions of a load
// balancer.
const maxProxyHeader = 16 + 4096

var (
	errNoProxyHeader   = errors.New("rollcall: no PROXY header")
	errProxyNotTCP     = errors.New("rollcall: the PROXY header is not of a TCP connection")
	errNoByte          = errors.New("rollcall: the connection ended before a byte came")
	errProxyHeaderLong = errors.New("rollcall: the PROXY header is too long")
)

// awaitProxyHeader is readProxyHeader within Timeouts.ProxyHeader. The next stage has a time limit of its own.
func (a *arrival) awaitProxyHeader() (client netip.AddrPort, err error) {
	timer := a.engine.clock.AfterFunc(a.engine.cfg.Timeouts.ProxyHeader, func() { _ = a.nc.SetReadDeadline(time.Now()) })
	a.peer.allow(maxProxyHeader)
	client, err = readProxyHeader(a.peer)
	if !timer.Stop() && err == nil {
		err = os.ErrDeadlineExceeded
	}
	return client, err
}

// readProxyHeader reads a PROXY header and no byte more, because the bytes behind it belong to the event loop. client is
// invalid when the load balancer speaks for itself (LOCAL), or for a client that has no network address, or one that it does
// not tell (UNKNOWN, UNSPEC). The error is errNoByte when the connection ended without a byte.
func readProxyHeader(nc net.Conn) (client netip.AddrPort, err error) {
	raw, err := proxyHeaderBytes(nc)
	if err != nil {
		return client, err
	}
	if withoutAddress(raw) {
		return client, nil
	}
	h, err := proxyproto.Read(bufio.NewReaderSize(bytes.NewReader(raw), len(raw)))
	if err != nil {
		return client, err
	}
	if h.Command.IsLocal() || h.TransportProtocol == proxyproto.UnixStream {
		return client, nil
	}
	source, _, ok := h.TCPAddrs()
	if !ok {
		return client, errProxyNotTCP
	}
	return addrPort(source), nil
}

// withoutAddress reports whether the address block of a version 2 header must be skipped, whatever is in it. The
// specification demands that for LOCAL with any family, and for PROXY with the family UNSPEC.
func withoutAddress(header []byte) bool {
	const local, proxy, unspec = 0x20, 0x21, 0x00
	if !bytes.HasPrefix(header, proxyproto.SIGV2) {
		return false
	}
	return header[12] == local || header[12] == proxy && header[13] == unspec
}

// proxyHeaderBytes reads up to the end of the header. The shortest of either version has more bytes than a signature.
func proxyHeaderBytes(r io.Reader) ([]byte, error) {
	header := make([]byte, len(proxyproto.SIGV2), 128)
	if n, err := io.ReadFull(r, header); err != nil {
		if n == 0 && !errors.Is(err, os.ErrDeadlineExceeded) {
			err = fmt.Errorf("%w: %w", errNoByte, err)
		}
		return nil, err
	}
	if bytes.HasPrefix(header, []byte("PROXY ")) {
		const longest = 107
		for len(header) < longest && header[len(header)-1] != '\n' { // a line does not tell its length
			header = append(header, 0)
			if _, err := io.ReadFull(r, header[len(header)-1:]); err != nil {
				return nil, err
			}
		}
		return header, nil
	}
	if !bytes.Equal(header, proxyproto.SIGV2) {
		return nil, errNoProxyHeader
	}
	header = header[:16]
	if _, err := io.ReadFull(r, header[12:]); err != nil {
		return nil, err
	}
	size := 16 + int(binary.BigEndian.Uint16(header[14:]))
	if size > maxProxyHeader {
		return nil, errProxyHeaderLong
	}
	header = append(header, make([]byte, size-16)...)
	_, err := io.ReadFull(r, header[16:])
	return header, err
}

// checkProxies returns an error for a listener's list of load balancers if it is invalid: no load balancer would be
// accepted.
func checkProxies(l Listener) error {
	for _, p := range l.ProxyProtocol {
		if !p.IsValid() {
			return fmt.Errorf("rollcall: the ProxyProtocol of listener %q has an invalid prefix", l.Addr)
		}
	}
	return nil
}

// unmapped returns prefixes in the form in which addresses are compared.
func unmapped(prefixes []netip.Prefix) []netip.Prefix {
	out := make([]netip.Prefix, 0, len(prefixes))
	for _, p := range prefixes {
		if a := p.Addr(); a.Is4In6() && p.Bits() >= 96 {
			p = netip.PrefixFrom(a.Unmap(), p.Bits()-96)
		}
		out = append(out, p)
	}
	return out
}

func contains(prefixes []netip.Prefix, a netip.Addr) bool {
	a = a.WithZone("")
	for _, p := range prefixes {
		if p.Contains(a) {
			return true
		}
	}
	return false
}
