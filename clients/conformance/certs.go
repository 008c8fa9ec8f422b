package main

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"sync"
	"time"
)

// authority issues the certificates of a run.
type authority struct {
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

// trust has the authority that testees trust and another one, and the file with the certificate of the first.
var trust = sync.OnceValue(func() (t struct {
	ours, others *authority
	file         string
}) {
	t.ours, t.others = newAuthority("conformance"), newAuthority("others")
	dir, err := os.MkdirTemp("", "rollcall-conformance")
	check(err)
	t.file = filepath.Join(dir, "ca.pem")
	check(os.WriteFile(t.file, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: t.ours.cert.Raw}), 0o600))
	return t
})

// removeTrust removes the file of trust.
func removeTrust() { _ = os.RemoveAll(filepath.Dir(trust().file)) }

// check ends the program for an error that this machine should not give.
func check(err error) {
	if err != nil {
		panic(err)
	}
}

func newAuthority(name string) *authority {
	a := &authority{key: newKey()}
	template := certificate(name)
	template.IsCA, template.BasicConstraintsValid, template.KeyUsage = true, true, x509.KeyUsageCertSign
	a.cert = sign(template, template, &a.key.PublicKey, a.key)
	return a
}

// issue returns the settings of a server whose certificate has these names and addresses.
func (a *authority) issue(names []string, ips ...net.IP) *tls.Config {
	key := newKey()
	template := certificate(names[0])
	template.DNSNames, template.IPAddresses = names, ips
	template.KeyUsage, template.ExtKeyUsage = x509.KeyUsageDigitalSignature, []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}
	leaf := sign(template, a.cert, &key.PublicKey, a.key)
	return &tls.Config{Certificates: []tls.Certificate{{Certificate: [][]byte{leaf.Raw}, PrivateKey: key}}, NextProtos: nil}
}

var (
	// goodTLS has a certificate that testees trust, for localhost.
	goodTLS = sync.OnceValue(func() *tls.Config { return trust().ours.issue([]string{"localhost"}, net.IPv4(127, 0, 0, 1)) })
	// wrongNameTLS has a certificate of the same authority for another host.
	wrongNameTLS = sync.OnceValue(func() *tls.Config { return trust().ours.issue([]string{"elsewhere.example"}) })
	// unknownTLS has a certificate for localhost of an authority that testees do not trust.
	unknownTLS = sync.OnceValue(func() *tls.Config { return trust().others.issue([]string{"localhost"}, net.IPv4(127, 0, 0, 1)) })
)

func newKey() *ecdsa.PrivateKey {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	check(err)
	return key
}

func certificate(name string) *x509.Certificate {
	serial, err := rand.Int(rand.Reader, big.NewInt(1<<62))
	check(err)
	return &x509.Certificate{SerialNumber: serial.Add(serial, big.NewInt(1)), Subject: pkix.Name{CommonName: name},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(24 * time.Hour)}
}

func sign(template, parent *x509.Certificate, key *ecdsa.PublicKey, by *ecdsa.PrivateKey) *x509.Certificate {
	der, err := x509.CreateCertificate(rand.Reader, template, parent, key, by)
	check(err)
	cert, err := x509.ParseCertificate(der)
	check(err)
	return cert
}
