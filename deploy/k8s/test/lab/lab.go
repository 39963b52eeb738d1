package lab

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/pem"
	"errors"
	"fmt"
	"log"
	"math/big"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/graceinit/graceinit/deploy/k8s/test/lab/apiserver"
	"github.com/graceinit/graceinit/deploy/k8s/test/lab/controllers"
	"github.com/graceinit/graceinit/deploy/k8s/test/lab/kubelet"
)

// Lab is one node with its control plane.
type Lab struct {
	Dir        string // kubeconfig, logs
	Kubeconfig string
	API        *apiserver.Server

	containerd *containerd
	http       *http.Server
	cancel     context.CancelFunc
	wg         sync.WaitGroup
	log        *os.File
}

// Start starts a lab, in namespaces that the caller has made (see [Enter]). runtime is a directory on a file system that
// can be an overlay's upper one; cgroup is the parent of all cgroups.
func Start(ctx context.Context, dir, runtime, cgroup string) (_ *Lab, err error) {
	l := &Lab{Dir: dir, Kubeconfig: filepath.Join(dir, "kubeconfig")}
	defer func() {
		if err != nil {
			err = errors.Join(err, l.Close())
		}
	}()
	if l.log, err = os.Create(filepath.Join(dir, "lab.log")); err != nil {
		return nil, err
	}
	logger := log.New(l.log, "", log.Lmicroseconds)
	if err = network(ctx); err != nil {
		return nil, err
	}
	if l.containerd, err = startContainerd(ctx, runtime); err != nil {
		return nil, err
	}
	l.API = apiserver.New(logger)
	const address = gateway + ":6443"
	ca, cert, err := certificates()
	if err != nil {
		return nil, err
	}
	k, err := kubelet.New(kubelet.Config{
		Socket: l.containerd.socket, Dir: filepath.Join(dir, "pods"), Cgroup: cgroup, API: address, CA: ca,
		Token: l.API.ServiceAccount, Store: l.API.Store, Log: logger,
	})
	if err != nil {
		return nil, err
	}
	l.API.Node = k
	listener, err := net.Listen("tcp", address)
	if err != nil {
		return nil, err
	}
	// HTTP/1.1 only: SPDY's upgrade is its own.
	l.http = &http.Server{
		Handler: l.API, ErrorLog: logger, ReadHeaderTimeout: time.Minute,
		TLSConfig: &tls.Config{Certificates: []tls.Certificate{cert}, NextProtos: []string{"http/1.1"}, MinVersion: tls.VersionTLS12},
	}
	run, cancel := context.WithCancel(context.Background())
	l.cancel = cancel
	l.wg.Go(func() { _ = l.http.ServeTLS(listener, "", "") })
	l.wg.Go(func() { k.Run(run) })
	l.wg.Go(func() { controllers.Run(run, l.API.Store, logger) })
	return l, os.WriteFile(l.Kubeconfig, kubeconfig(address, ca, l.API.Admin()), 0o600)
}

// Add makes an image known to the node.
func (l *Lab) Add(ctx context.Context, images ...Image) error {
	for _, i := range images {
		if err := l.containerd.add(ctx, l.Dir, i); err != nil {
			return err
		}
	}
	return nil
}

// Close ends everything but the containers: those end with the PID namespace.
func (l *Lab) Close() error {
	var err error
	if l.http != nil {
		err = l.http.Close()
	}
	if l.cancel != nil {
		l.cancel()
	}
	l.wg.Wait()
	if l.containerd != nil {
		err = errors.Join(err, l.containerd.stop())
	}
	if l.log != nil {
		err = errors.Join(err, l.log.Close())
	}
	return err
}

func kubeconfig(address string, ca []byte, token string) []byte {
	return fmt.Appendf(nil, `apiVersion: v1
kind: Config
clusters:
- name: lab
  cluster: {server: "https://%s", certificate-authority-data: %s}
users:
- name: lab
  user: {token: %s}
contexts:
- name: lab
  context: {cluster: lab, user: lab, namespace: default}
current-context: lab
`, address, base64.StdEncoding.EncodeToString(ca), token)
}

// certificates returns a certificate of an authority of its own, in PEM, and the server's.
func certificates() ([]byte, tls.Certificate, error) {
	fail := func(err error) ([]byte, tls.Certificate, error) { return nil, tls.Certificate{}, err }
	caKey, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return fail(err)
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return fail(err)
	}
	ca := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "graceinit lab"}, IsCA: true, BasicConstraintsValid: true,
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(24 * time.Hour), KeyUsage: x509.KeyUsageCertSign,
	}
	leaf := &x509.Certificate{
		SerialNumber: big.NewInt(2), Subject: pkix.Name{CommonName: "kubernetes"}, IPAddresses: []net.IP{net.ParseIP(gateway)},
		NotBefore: ca.NotBefore, NotAfter: ca.NotAfter, KeyUsage: x509.KeyUsageDigitalSignature,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
	caDER, err := x509.CreateCertificate(rand.Reader, ca, ca, &caKey.PublicKey, caKey)
	if err != nil {
		return fail(err)
	}
	der, err := x509.CreateCertificate(rand.Reader, leaf, ca, &key.PublicKey, caKey)
	if err != nil {
		return fail(err)
	}
	var out bytes.Buffer
	if err := pem.Encode(&out, &pem.Block{Type: "CERTIFICATE", Bytes: caDER}); err != nil {
		return fail(err)
	}
	return out.Bytes(), tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, nil
}
