package minisign

import (
	"bytes"
	"encoding/hex"
	"testing"
)

// message is what python's hashlib was given for the table below.
func message(n int) []byte {
	m := make([]byte, n)
	for i := range m {
		m[i] = byte(i*7 + i/251)
	}
	return m
}

// hashlib.blake2b(bytes((i*7 + i//251) % 256 for i in range(n))).hexdigest()
var hashlib = []struct {
	n   int
	hex string
}{
	{0, "786a02f742015903c6c6fd852552d272912f4740e15847618a86e217f71f5419d25e1031afee585313896444934eb04b903a685b1448b755d56f701afe9be2ce"},
	{1, "2fa3f686df876995167e7c2e5d74c4c7b6e48f8068fe0e44208344d480f7904c36963e44115fe3eb2a3ac8694c28bcb4f5a0f3276f2e79487d8219057a506e4b"},
	{63, "e2e2cb4ead3adb22fdb2f40cd56cb20629805f77c14110daba379057e7d8214d06bd37a1d7634eb24f8bce30a4b929979a5cb09d2e3694524d58e622fcba7f9a"},
	{64, "4f22eb776750038601ce338252d5e411027c097e78024cbe220355392e5bb32468fdb0ebba193436d781f4fa9d6eca6c6a8479aad634038cc8880cdd13c22d7d"},
	{65, "0a8e723dbebcf3e91deba0be5d8ae34f3d3710ab2b0cd4f34d3d9533fc0819b7361319e7768ca817ed47a2b2d3ddf10c13c4b3d7154d34c52621f171faaefc5a"},
	{111, "652991b28c8bd5a3570898a2624e93b4f299006b1a74e431098ea38cc87d76fe27c29c3fb32902b25efec7a1c9bc9a6fd9bfd082c2110e3452b40a57adb9d6e6"},
	{112, "a27606003584137d49afc39aaab6dceb10e2d248146a16d860ff225cabb447121e8347e273c3562a69286583612e3d09fe104d62737ff143d2023c1458e41244"},
	{119, "208e20ee564ddc74befabd27e6a92e47d01251428c42fd4259ced5552ff8cf6146693f6934e6a2c2640ddf079bc2c89dfa6cd4340c0c801256f9f7d7c6c57d16"},
	{120, "be5aa95b3abba4e3ea1bc569ae8107a274529c6559670fe75ff0f947e693e629edaf14b2d2e81d1fe39abeb01ebf372d0b0264f6d4b52e27ba8da97a99aaf555"},
	{127, "08b38d2c2a521e8a819cdca2d43b52df46768623ff2a89e8cbf5a0095e9873d8714e9f0f94bda6c0f43731a465769f5b4a978bc0efa8e0ccf8a37d901d3265b5"},
	{128, "0be555525cf1e0b9b74d2a743dd1ee3164b1de36feaa6084a1d054af06a5091346d6a2be5068fd5c612e0f8cbcefaacac2f5b309226bfc28817916fbc3ef0b23"},
	{129, "31f95aa8eb1487ce670bc3c0c60ef98b83b7d7d88ff6b7d719fdc8838f301785591eed59d633b5f47b73aa828cf2dcdc775fc92c0de005ae9b7922b0f3251885"},
	{255, "a3fa377a706021da24702e6172e2632f4261c32a28a7338a3040a7456b9d240b94a57bb39f5a1231f901986725eb82401bf9b141438dbfeb728d1b862c7ba752"},
	{256, "ca0342bef9576147c78a4396bcee86a88654d6c5ddcb33be703e09a737462c3a230933df30d15af5c82b8c83fae5c3bbcc2eb4edda3fe4cb8056f33ea78de044"},
	{257, "b2d6bd4e8f868917d8a84e9099fb5cf8d5c4128c35d1dc40e7085383e9bc64dca2b9773a793a2173b68c0337124c1e6a0ff493fc3f79d6d7a075368c0d97c608"},
	{1000, "c054722b157dd6675c0e02672bf04183d61f9d7a258dc0368bcc619b39a2bd7e067de1b7d6636127d2e302c608e0d904c7a44e35bfee1683a83c5ab7627ca1e3"},
	{4096, "90fb7ca325a66330db39f933af547d0945620cda3eb30ed6f4f67c4326b7df5e8d5de8be2056601953256ec7d138db1f0a663f8ff8da9ced28fbf5f685577735"},
	{100003, "aa6dc7e3c1c35047fd5a11111dd105f307c5be3fd9130c4647959dfb86f6c1f32bec9d18e09bed0ea77718df077f87a42206a57ebb75d35716ca46ad197e8622"},
}

// RFC 7693, appendix A.
func TestBLAKE2bOfTheRFC(t *testing.T) {
	const want = "ba80a53f981c4d0d6a2797b69f12f6e94c212f14685ac4b74b12bb6fdbffa2d1" +
		"7d87c5392aab792dc252d5de4533cc9518d38aa8dbf1925ab92386edd4009923"
	h := NewDigest()
	_, _ = h.Write([]byte("abc"))
	if got := hex.EncodeToString(h.Sum()); got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}

func TestBLAKE2bOfPython(t *testing.T) {
	for _, g := range hashlib {
		h := NewDigest()
		_, _ = h.Write(message(g.n))
		if got := hex.EncodeToString(h.Sum()); got != g.hex {
			t.Errorf("%d bytes: got %s, want %s", g.n, got, g.hex)
		}
	}
}

func sumOf(h *Digest, pieces ...[]byte) []byte {
	for _, p := range pieces {
		_, _ = h.Write(p)
	}
	return h.Sum()
}

func FuzzDigest(f *testing.F) {
	f.Add([]byte("abc"), uint16(1))
	f.Add(message(300), uint16(128))
	f.Fuzz(func(t *testing.T, m []byte, at uint16) {
		cut := min(int(at), len(m))
		if whole, halves := sumOf(NewDigest(), m), sumOf(NewDigest(), m[:cut], m[cut:]); !bytes.Equal(whole, halves) {
			t.Errorf("BLAKE2b of %x differs in two pieces", m)
		}
	})
}

func BenchmarkDigest(b *testing.B) {
	chunk := make([]byte, 1<<16)
	b.SetBytes(int64(len(chunk)))
	for d := NewDigest(); b.Loop(); {
		_, _ = d.Write(chunk)
	}
}
