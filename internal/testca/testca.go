// Package testca makes certificates for tests.
package testca

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
	"time"
)

// TB is what an authority needs of a testing.TB. A program that is no test can bring its own.
type TB interface {
	Helper()
	// Fatal ends the test.
	Fatal(args ...any)
	// TempDir returns a new directory that is removed with the test.
	TempDir() string
}

// Authority issues certificates. They are valid for a day.
type Authority struct {
	// Pool holds the authority's own certificate alone.
	Pool *x509.CertPool
	t    TB
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
	next int64
}

// New returns a new authority.
func New(t TB) *Authority {
	t.Helper()
	a := &Authority{t: t, Pool: x509.NewCertPool(), next: 1}
	template := a.template("test authority")
	template.IsCA, template.BasicConstraintsValid = true, true
	template.KeyUsage = x509.KeyUsageCertSign
	a.key = a.newKey()
	a.cert = a.sign(template, template, a.key, a.key)
	a.Pool.AddCert(a.cert)
	return a
}

// Issue returns a certificate for a server at 127.0.0.1 or for a client, with this common name.
func (a *Authority) Issue(name string) tls.Certificate {
	a.t.Helper()
	return a.issue(name, []string{"localhost", name}, []net.IP{net.IPv4(127, 0, 0, 1)})
}

// IssueElsewhere returns a certificate for a server that has this name alone, and not 127.0.0.1.
func (a *Authority) IssueElsewhere(name string) tls.Certificate {
	a.t.Helper()
	return a.issue(name, []string{name}, nil)
}

func (a *Authority) issue(name string, names []string, ips []net.IP) tls.Certificate {
	a.t.Helper()
	template := a.template(name)
	template.KeyUsage = x509.KeyUsageDigitalSignature
	template.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth}
	template.DNSNames, template.IPAddresses = names, ips
	key := a.newKey()
	leaf := a.sign(template, a.cert, key, a.key)
	return tls.Certificate{Certificate: [][]byte{leaf.Raw}, PrivateKey: key, Leaf: leaf}
}

// Files writes a certificate and its key as files in the PEM format, of which the directory is removed with the test.
func (a *Authority) Files(c tls.Certificate) (cert, key string) {
	a.t.Helper()
	der, err := x509.MarshalPKCS8PrivateKey(c.PrivateKey)
	if err != nil {
		a.t.Fatal(err)
	}
	return a.file("CERTIFICATE", c.Certificate[0]), a.file("PRIVATE KEY", der)
}

// File writes the authority's own certificate.
func (a *Authority) File() string {
	a.t.Helper()
	return a.file("CERTIFICATE", a.cert.Raw)
}

func (a *Authority) file(typ string, der []byte) string {
	a.t.Helper()
	name := filepath.Join(a.t.TempDir(), "pem")
	if err := os.WriteFile(name, pem.EncodeToMemory(&pem.Block{Type: typ, Bytes: der}), 0o600); err != nil {
		a.t.Fatal(err)
	}
	return name
}

func (a *Authority) template(name string) *x509.Certificate {
	a.next++
	return &x509.Certificate{SerialNumber: big.NewInt(a.next), Subject: pkix.Name{CommonName: name},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(24 * time.Hour)}
}

func (a *Authority) newKey() *ecdsa.PrivateKey {
	a.t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		a.t.Fatal(err)
	}
	return key
}

func (a *Authority) sign(template, parent *x509.Certificate, key, by *ecdsa.PrivateKey) *x509.Certificate {
	a.t.Helper()
	der, err := x509.CreateCertificate(rand.Reader, template, parent, &key.PublicKey, by)
	if err != nil {
		a.t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		a.t.Fatal(err)
	}
	return cert
}
