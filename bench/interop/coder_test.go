package interop

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"net/http"

	"github.com/coder/websocket"
)

func dialCoder(ctx context.Context, url string, trusts *tls.Config) (net.Conn, error) {
	c, answer, err := websocket.Dial(ctx, url, &websocket.DialOptions{HTTPClient: &http.Client{Transport: &http.Transport{TLSClientConfig: trusts}},
		Subprotocols: []string{"other", "rollcall.v1"}, CompressionMode: websocket.CompressionContextTakeover})
	if err != nil {
		return nil, err
	}
	if answer.Header.Get("Sec-WebSocket-Extensions") != "" || c.Subprotocol() != "rollcall.v1" {
		return nil, errNotNegotiated
	}
	return websocket.NetConn(ctx, c, websocket.MessageBinary), nil
}

func acceptCoder(w http.ResponseWriter, r *http.Request) (net.Conn, error) {
	c, err := websocket.Accept(w, r, &websocket.AcceptOptions{Subprotocols: []string{"rollcall.v1"}, CompressionMode: websocket.CompressionContextTakeover})
	if err != nil {
		return nil, err
	}
	return websocket.NetConn(context.WithoutCancel(r.Context()), c, websocket.MessageBinary), nil
}

func closedCoder(err error) (code int, reason string) {
	var ce websocket.CloseError
	switch {
	case errors.As(err, &ce):
		return int(ce.Code), ce.Reason
	case err == io.EOF: // NetConn says so of 1000, and of 1001
		return int(websocket.StatusNormalClosure), ""
	}
	return 0, ""
}
