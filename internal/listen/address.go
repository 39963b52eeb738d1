package listen

import (
	"fmt"
	"strconv"
	"strings"
)

// address is an IP address and a port. Package net/netip would be 40 KB of init for it (its zones live in package
// unique, with a goroutine of its own); the tests compare with it.
type address struct {
	ip   [16]byte // IPv4 as ::ffff:a.b.c.d (RFC 4291, 2.5.5.2)
	zone string
	port uint16
}

var mapped = [12]byte{10: 0xff, 11: 0xff}

func fromIPv4(ip [4]byte) (a [16]byte) {
	copy(a[:], mapped[:])
	copy(a[12:], ip[:])
	return a
}

func (a address) isIPv4() bool   { return [12]byte(a.ip[:12]) == mapped }
func (a address) ipv4() [4]byte  { return [4]byte(a.ip[12:]) }
func (a address) wildcard() bool { return a.ip == [16]byte{} || a.ip == fromIPv4([4]byte{}) }

// String is 127.0.0.1:80 or [::1%lo]:80.
func (a address) String() string {
	if ip := a.ipv4(); a.isIPv4() {
		return fmt.Sprintf("%d.%d.%d.%d:%d", ip[0], ip[1], ip[2], ip[3], a.port)
	}
	zone := a.zone
	if zone != "" {
		zone = "%" + zone
	}
	return fmt.Sprintf("[%s%s]:%d", formatIPv6(a.ip), zone, a.port)
}

// formatIPv6 writes an address as RFC 5952 recommends: the longest run of zeros, the first of equals, is "::".
func formatIPv6(ip [16]byte) string {
	group := func(i int) uint64 { return uint64(ip[2*i])<<8 | uint64(ip[2*i+1]) }
	from, to := -1, -1
	for i := 0; i < 8; i++ {
		end := i
		for end < 8 && group(end) == 0 {
			end++
		}
		if end-i >= 2 && end-i > to-from {
			from, to = i, end
		}
	}
	var text []byte
	for i := 0; i < 8; i++ {
		switch {
		case i == from:
			text = append(text, "::"...)
			i = to - 1
			continue
		case i > 0 && i != to:
			text = append(text, ':')
		}
		text = strconv.AppendUint(text, group(i), 16)
	}
	return string(text)
}

// parseIP reads an address without brackets. An IPv4-mapped one is IPv4.
func parseIP(text string) (ip [16]byte, zone string, ok bool) {
	if !strings.Contains(text, ":") {
		v4, ok := parseIPv4(text)
		return fromIPv4(v4), "", ok
	}
	text, zone, hasZone := strings.Cut(text, "%")
	if hasZone && zone == "" {
		return ip, "", false
	}
	head, tail, compressed := strings.Cut(text, "::")
	front, frontOK := parseGroups(head, !compressed)
	back, backOK := parseGroups(tail, true)
	switch n := len(front) + len(back); {
	case !frontOK || !backOK:
	case compressed && n <= len(ip)-2, !compressed && n == len(ip): // "::" is a group at least
		copy(ip[:], front)
		copy(ip[len(ip)-len(back):], back)
		return ip, zone, true
	}
	return ip, "", false
}

// parseGroups reads what stands on one side of "::". The end of an address may be written as IPv4.
func parseGroups(text string, isEnd bool) (ip []byte, ok bool) {
	if text == "" {
		return nil, true
	}
	groups := strings.Split(text, ":")
	for i, group := range groups {
		if v4, ok := parseIPv4(group); ok && isEnd && i == len(groups)-1 {
			return append(ip, v4[:]...), true
		}
		n, err := strconv.ParseUint(group, 16, 16)
		if err != nil || len(group) > 4 {
			return nil, false
		}
		ip = append(ip, byte(n>>8), byte(n))
	}
	return ip, true
}

// parseIPv4 reads four decimal numbers. Leading zeros are refused, since some take them for octal.
func parseIPv4(text string) (ip [4]byte, ok bool) {
	parts := strings.Split(text, ".")
	if len(parts) != len(ip) {
		return ip, false
	}
	for i, part := range parts {
		n, err := strconv.ParseUint(part, 10, 8)
		if err != nil || len(part) > 1 && part[0] == '0' {
			return ip, false
		}
		ip[i] = byte(n)
	}
	return ip, true
}
