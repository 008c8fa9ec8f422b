package main

import (
	"crypto/tls"
	"fmt"
	"os"
	"sync"

	"github.com/rollcall-go/rollcall/internal/testca"
)

// trust has the authority that testees trust and another one, and the file with the certificate of the first.
var trust = sync.OnceValue(func() (t struct {
	ours, others *testca.Authority
	file, dir    string
}) {
	dir, err := os.MkdirTemp("", "rollcall-conformance")
	check(err)
	t.dir, t.ours, t.others = dir, testca.New(run{dir}), testca.New(run{dir})
	t.file = t.ours.File()
	return t
})

// removeTrust removes the file of trust.
func removeTrust() { _ = os.RemoveAll(trust().dir) }

// run is the run of the suite, as an authority needs it: its files are in dir.
type run struct{ dir string }

func (run) Helper() {}

// Fatal ends the program.
func (run) Fatal(args ...any) { panic(fmt.Sprint(args...)) }

func (r run) TempDir() string { return r.dir }

// check ends the program for an error that this machine should not give.
func check(err error) {
	if err != nil {
		panic(err)
	}
}

var (
	// goodTLS has a certificate that testees trust, for localhost and 127.0.0.1.
	goodTLS = sync.OnceValue(func() *tls.Config { return settings(trust().ours.Issue("conformance")) })
	// wrongNameTLS has a certificate of the same authority for another host.
	wrongNameTLS = sync.OnceValue(func() *tls.Config { return settings(trust().ours.IssueElsewhere("elsewhere.example")) })
	// unknownTLS has a certificate for localhost of an authority that testees do not trust.
	unknownTLS = sync.OnceValue(func() *tls.Config { return settings(trust().others.Issue("conformance")) })
)

func settings(c tls.Certificate) *tls.Config { return &tls.Config{Certificates: []tls.Certificate{c}} }
