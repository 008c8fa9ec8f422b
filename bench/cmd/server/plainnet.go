//go:build linux

package main

import (
	"bufio"
	"net"

	"github.com/rollcall-go/rollcall/internal/layout"
	"github.com/rollcall-go/rollcall/protocol"
)

// plainNet is what the standard library suggests: a goroutine a connection, a buffer each way, and the answers flushed
// when no more requests wait.
func plainNet(o options) error {
	ln, err := net.Listen("tcp", o.addr)
	if err != nil {
		return err
	}
	listening(o.addr)
	for {
		c, err := ln.Accept()
		if err != nil {
			return err
		}
		go serve(c)
	}
}

const bufferSize = 4 << 10

func serve(c net.Conn) {
	defer func() { _ = c.Close() }()
	r, w := bufio.NewReaderSize(c, bufferSize), bufio.NewWriterSize(c, bufferSize)
	var m protocol.Message
	header := make([]byte, 0, layout.HeaderLen)
	for {
		frame, err := nextFrame(r, &m)
		if err != nil {
			return
		}
		_, _ = w.Write(appendAnswerHeader(header, frame, len(m.Body))) // the writer keeps its error for Flush
		_, _ = w.Write(m.Body)
		if _, err := r.Discard(len(frame)); err != nil {
			return
		}
		if r.Buffered() == 0 {
			if err := w.Flush(); err != nil {
				return
			}
		}
	}
}

// nextFrame decodes the next frame, which must fit into the buffer. It lies there until it is discarded.
func nextFrame(r *bufio.Reader, m *protocol.Message) ([]byte, error) {
	for need := layout.HeaderLen; ; {
		b, err := r.Peek(need)
		if err != nil {
			return nil, err
		}
		n, more, err := protocol.Binary.Decode(b, m, protocol.DecodeOptions{})
		if n > 0 || err != nil {
			return b[:n], err
		}
		need = more
	}
}
