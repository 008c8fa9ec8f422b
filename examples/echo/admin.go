package main

import (
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/rollcall-go/rollcall"
	"github.com/rollcall-go/rollcall/admin"
)

// serveAdmin serves the page of live users at addr, in the background. Without a file with a password addr is to be on this machine, and the
// page shows users and throws none out, unless it is given the token that is printed. With one the user is "admin", and addr may be any if
// there is TLS. stop ends it.
func serveAdmin(srv *rollcall.Server, addr, passwordFile string, secure *tls.Config) (stop func(), err error) {
	ln, err := net.Listen("tcp", addr)
	if err != nil {
		return nil, err
	}
	at := ln.Addr().(*net.TCPAddr)
	local, host := at.IP.IsLoopback(), at.IP.String()
	if at.IP.IsUnspecified() { // it is on all addresses of this machine, and this one is not one that a browser can open
		host = "localhost"
	}
	authorize, token := admin.Loopback()
	if passwordFile != "" {
		text, readErr := os.ReadFile(passwordFile)
		password := strings.TrimSpace(string(text))
		switch {
		case readErr != nil:
			err = readErr
		case password == "":
			err = fmt.Errorf("%s has no password", passwordFile)
		case !local && secure == nil:
			err = errors.New("-admin on an address that others reach needs -tls-cert: the password would be readable on the way")
		}
		authorize, token = admin.Basic("admin", password, admin.Act), ""
	} else if !local {
		err = errors.New("-admin on an address that others reach needs -admin-password")
	}
	if err != nil {
		return nil, errors.Join(err, ln.Close())
	}
	pages, err := admin.New(admin.Config{Users: srv.Users, Engines: []admin.Engine{{Engine: srv.Engine, Bridge: srv.Bridge}}, Authorize: authorize})
	if err != nil {
		return nil, errors.Join(err, ln.Close())
	}
	scheme := "http"
	if secure != nil {
		scheme, ln = "https", tls.NewListener(ln, secure)
	}
	server := &http.Server{Handler: pages, ReadHeaderTimeout: 10 * time.Second}
	fmt.Fprintf(os.Stderr, "page of live users: %s://%s/\n", scheme, net.JoinHostPort(host, strconv.Itoa(at.Port)))
	if token != "" {
		fmt.Fprintf(os.Stderr, "to throw users out there, give it the token %s\n", token)
	}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		_ = server.Serve(ln) // ends with stop
	}()
	return func() {
		_, _ = pages.Close(), server.Close()
		<-ended
	}, nil
}
