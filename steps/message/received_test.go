package message

import (
	"fmt"
	"strings"
	"testing"
	"time"
)

// text gives everything that was read of a hop in one line.
func (h Hop) text() string {
	said := map[TLSSaid]string{tlsUnknown: "tls?", TLSNo: "no tls", TLSYes: "tls"}[h.TLS]
	at := "no time"
	if !h.At.IsZero() {
		at = h.At.Format("2006-01-02T15:04:05.999999") + " +" + h.Resolution.String()
	}
	address := ""
	if h.Address.IsValid() {
		address = h.Address.String()
	}
	return fmt.Sprintf("from %s [%s] by %s with %s (%s) id %s, %s %s %s, inside %t", h.From, address, h.By, h.Protocol, at, h.ID, said, h.version, h.cipher, h.Inside())
}

var receivedShapes = []struct{ name, header, want string }{
	{"Postfix, submission",
		"from client.example.org (client.example.org [IPv6:2001:db8::7])\r\n\t(using TLSv1.3 with cipher TLS_AES_256_GCM_SHA384 (256/256 bits)\r\n\t key-exchange X25519 server-signature ECDSA (prime256v1) server-digest SHA256)\r\n\t(No client certificate requested)\r\n\tby mail.example.test (Postfix) with ESMTPSA id 4jWnKx59XYz1VF5k\r\n\tfor <carol@example.test>; Sat, 21 Nov 2026 09:42:13 +0000 (UTC)",
		"from client.example.org [2001:db8::7] by mail.example.test with ESMTPSA (2026-11-21T09:42:13.728861 +0s) id 4jWnKx59XYz1VF5k, tls TLSv1.3 TLS_AES_256_GCM_SHA384, inside false"},
	{"Postfix, in clear, short id",
		"from relay.example.org (unknown [192.0.2.4]) by mx1.example.test (Postfix) with ESMTP id 764D49C6071 for <joe@example.test>; Sat, 21 Nov 2026 10:42:13 +0100 (CET)",
		"from relay.example.org [192.0.2.4] by mx1.example.test with ESMTP (2026-11-21T09:42:13 +1s) id 764D49C6071, no tls  , inside false"},
	{"Postfix, pickup",
		"by mail.example.test (Postfix, from userid 0)\n\tid 764D49C6071; Sat, 21 Nov 2026 09:42:13 +0000 (UTC)",
		"from  [] by mail.example.test with  (2026-11-21T09:42:13 +1s) id 764D49C6071, tls?  , inside true"},
	{"Dovecot LMTP over a socket",
		"from mail.example.test\n\tby store with LMTP\n\tid gF6mG92XAWsoAAAAg+zDdQ\n\t(envelope-from <alice@example.test>)\n\tfor <carol@example.test>; Sat, 21 Nov 2026 13:08:45 +0000",
		"from mail.example.test [] by store with LMTP (2026-11-21T13:08:45.463888 +0s) id gF6mG92XAWsoAAAAg+zDdQ, no tls  , inside true"},
	{"Dovecot LMTP over the net",
		"from mail.example.test ([192.0.2.7])\n\tby store with LMTPS\n\tid 8CABOixiIWcXAAAAPYz0xw:T2\n\t(envelope-from <alice@example.test>); Sat, 21 Nov 2026 13:08:45 +0000",
		"from mail.example.test [192.0.2.7] by store with LMTPS (2026-11-21T13:08:45 +1s) id 8CABOixiIWcXAAAAPYz0xw:T2, tls  , inside false"},
	{"Exim 4.96",
		"from [192.0.2.9] (port=41234 helo=client.example.org)\n\tby exim.example.test with esmtpsa  (TLS1.3) tls TLS_AES_256_GCM_SHA384\n\t(Exim 4.96)\n\t(envelope-from <a@example.org>)\n\tid 1pXyZa-0001ab-2C\n\tfor b@example.test;\n\tSat, 21 Nov 2026 09:42:13 +0000",
		"from 192.0.2.9 [192.0.2.9] by exim.example.test with ESMTPSA (2026-11-21T09:42:13 +1s) id 1pXyZa-0001ab-2C, tls TLSv1.3 TLS_AES_256_GCM_SHA384, inside false"},
	{"Exim 4.80",
		"from mail.example.org ([192.0.2.1]:4711) by exim.example.test with esmtps (TLSv1.2:ECDHE-RSA-AES256-GCM-SHA384:256) (Exim 4.80) id 1abCdE-0003Fg-Hi; Sat, 21 Nov 2026 09:42:13 +0000",
		"from mail.example.org [192.0.2.1] by exim.example.test with ESMTPS (2026-11-21T09:42:13 +1s) id 1abCdE-0003Fg-Hi, tls TLSv1.2 ECDHE-RSA-AES256-GCM-SHA384, inside false"},
	{"Exim, local",
		"from root by exim.example.test with local (Exim 4.96) (envelope-from <root@example.test>) id 1pXyZa-0001ab-2C for b@example.test; Sat, 21 Nov 2026 09:42:13 +0000",
		"from root [] by exim.example.test with local (2026-11-21T09:42:13 +1s) id 1pXyZa-0001ab-2C, tls?  , inside true"},
	{"Gmail, from outside",
		"from mail-sor-f41.google.com (mail-sor-f41.google.com. [209.85.220.41])\r\n        by mx.google.com with SMTPS id d9443c01a7336-1f7abc\r\n        for <someone@gmail.com>\r\n        (Google Transport Security);\r\n        Fri, 20 Nov 2026 23:42:13 -0800 (PST)",
		"from mail-sor-f41.google.com [209.85.220.41] by mx.google.com with SMTPS (2026-11-21T07:42:13 +1s) id d9443c01a7336-1f7abc, tls  , inside false"},
	{"Gmail, TLS",
		"from mx1.example.org (mx1.example.org. [2001:db8::25]) by mx.google.com with ESMTPS id ab12si3456789wrb.12.2026.11.20 for <someone@gmail.com> (version=TLS1_3 cipher=TLS_AES_256_GCM_SHA384 bits=256/256); Fri, 20 Nov 2026 23:42:13 -0800 (PST)",
		"from mx1.example.org [2001:db8::25] by mx.google.com with ESMTPS (2026-11-21T07:42:13 +1s) id ab12si3456789wrb.12.2026.11.20, tls TLSv1.3 TLS_AES_256_GCM_SHA384, inside false"},
	{"Gmail, inside",
		"by 2002:a05:6a00:1234:b0:5a1:1234:5678 with SMTP id x1csp123456abc; Fri, 20 Nov 2026 23:42:14 -0800 (PST)",
		"from  [] by 2002:a05:6a00:1234:b0:5a1:1234:5678 with SMTP (2026-11-21T07:42:14 +1s) id x1csp123456abc, no tls  , inside true"},
	{"Exchange Online",
		"from AM0PR01MB1234.eurprd01.prod.exchangelabs.com (2603:10a6:208:ab::11)\r\n by DB8PR01MB5678.eurprd01.prod.exchangelabs.com (2603:10a6:10:cd::22) with\r\n Microsoft SMTP Server (version=TLS1_2,\r\n cipher=TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384) id 15.20.8158.23; Sat, 21 Nov\r\n 2026 09:42:13 +0000",
		"from AM0PR01MB1234.eurprd01.prod.exchangelabs.com [2603:10a6:208:ab::11] by DB8PR01MB5678.eurprd01.prod.exchangelabs.com with Microsoft SMTP Server (2026-11-21T09:42:13 +1s) id 15.20.8158.23, tls TLSv1.2 TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384, inside false"},
	{"Exchange, mapi",
		"from AM0PR01MB1234.eurprd01.prod.exchangelabs.com ([fe80::1%4]) by AM0PR01MB1234.eurprd01.prod.exchangelabs.com ([fe80::1%4]) with mapi id 15.20.8158.021; Sat, 21 Nov 2026 09:42:13 +0000",
		"from AM0PR01MB1234.eurprd01.prod.exchangelabs.com [fe80::1%4] by AM0PR01MB1234.eurprd01.prod.exchangelabs.com with mapi (2026-11-21T09:42:13 +1s) id 15.20.8158.021, tls?  , inside true"},
	{"Exchange, frontend",
		"from mx.example.org (192.0.2.1) by EX01.corp.example.test (10.0.0.1) with Microsoft SMTP Server id 15.1.2507.39 via Frontend Transport; Sat, 21 Nov 2026 10:42:13 +0100",
		"from mx.example.org [192.0.2.1] by EX01.corp.example.test with Microsoft SMTP Server (2026-11-21T09:42:13 +1s) id 15.1.2507.39, tls?  , inside false"},
	{"qmail, network",
		"from unknown (HELO client.example.org) (192.0.2.1)\n  by qmail.example.test with SMTP; 21 Nov 2026 09:42:13 -0000",
		"from client.example.org [192.0.2.1] by qmail.example.test with SMTP (2026-11-21T09:42:13 +1s) id , no tls  , inside false"},
	{"qmail, TLS",
		"from unknown (HELO client.example.org) (192.0.2.1) by qmail.example.test with (TLS_AES_256_GCM_SHA384 encrypted) ESMTPS; 21 Nov 2026 09:42:13 -0000",
		"from client.example.org [192.0.2.1] by qmail.example.test with ESMTPS (2026-11-21T09:42:13 +1s) id , tls  TLS_AES_256_GCM_SHA384, inside false"},
	{"qmail, queue",
		"(qmail 4711 invoked from network); 21 Nov 2026 09:42:13 -0000",
		"from  [] by  with  (2026-11-21T09:42:13 +1s) id , tls?  , inside true"},
	{"Sendmail",
		"from client.example.org (client.example.org [192.0.2.1]) (authenticated bits=0)\n\tby sendmail.example.test (8.17.1.9/8.17.1.9/Debian-2) with ESMTPSA id 3ALDg8Xk012345\n\t(version=TLSv1.3 cipher=TLS_AES_256_GCM_SHA384 bits=256 verify=NO)\n\tfor <b@example.test>; Sat, 21 Nov 2026 09:42:13 GMT",
		"from client.example.org [192.0.2.1] by sendmail.example.test with ESMTPSA (2026-11-21T09:42:13 +1s) id 3ALDg8Xk012345, tls TLSv1.3 TLS_AES_256_GCM_SHA384, inside false"},
	{"a zone by its name",
		"from a.example.org ([192.0.2.1]) by b.example.test with SMTP; Sat, 21 Nov 2026 04:42:13 EST",
		"from a.example.org [192.0.2.1] by b.example.test with SMTP (2026-11-21T09:42:13 +1s) id , no tls  , inside false"},
	{"no seconds",
		"from a.example.org ([192.0.2.1]) by b.example.test with SMTP; 21 Nov 2026 09:42 +0000",
		"from a.example.org [192.0.2.1] by b.example.test with SMTP (2026-11-21T09:42:00 +1m0s) id , no tls  , inside false"},
	{"a zone that means several",
		"from a.example.org ([192.0.2.1]) by b.example.test with SMTP; Sat, 21 Nov 2026 09:42:13 IST",
		"from a.example.org [192.0.2.1] by b.example.test with SMTP (no time) id , no tls  , inside false"},
	{"amavis",
		"from mail.example.test ([127.0.0.1])\n\tby localhost (mail.example.test [127.0.0.1]) (amavisd-new, port 10024)\n\twith ESMTP id Abc-DEF_12 for <b@example.test>; Sat, 21 Nov 2026 09:42:13 +0000 (UTC)",
		"from mail.example.test [127.0.0.1] by localhost with ESMTP (2026-11-21T09:42:13 +1s) id Abc-DEF_12, no tls  , inside true"},
	{"the keyword as a name", "from by (by [192.0.2.1]) by with with ESMTP id id; Sat, 21 Nov 2026 09:42:13 +0000", ""},
	{"a comment without an end", "from a (b [192.0.2.1] by c with SMTP; Sat, 21 Nov 2026 09:42:13 +0000", "unreadable"},
	{"no date", "from a by c with SMTP id 1", "from a [] by c with SMTP (no time) id 1, no tls  , inside false"},
	{"a date of nobody's", "from a by c; some day", "from a [] by c with  (no time) id , tls?  , inside false"},
	{"nothing", "", "unreadable"},
	{"only words", "once upon a time", "unreadable"},
}

func TestReceivedShapes(t *testing.T) {
	for _, c := range receivedShapes {
		got := "unreadable"
		if h, ok := ParseReceived(c.header); ok {
			got = h.text()
		}
		if got != c.want && c.want != "" {
			t.Errorf("%s:\ngot  %s\nwant %s", c.name, got, c.want)
		}
	}
}

func TestReceivedOrder(t *testing.T) {
	hops, unreadable := ReadReceived([]string{"by c; 21 Nov 2026 09:42:15 -0000", "?", "by b; 21 Nov 2026 09:42:14 -0000", "by a; 21 Nov 2026 09:42:13 -0000"})
	if len(hops) != 3 || hops[0].By != "a" || hops[2].By != "c" || len(unreadable) != 1 {
		t.Errorf("got %v, unreadable %q", hops, unreadable)
	}
}

func TestQueueIDTime(t *testing.T) {
	for id, want := range map[string]string{
		"4jWnKx59XYz1VF5k":   "2026-11-21T09:42:13.728861Z",
		"4jWswF3GQbz3F":      "2026-11-21T13:08:45.460855Z",
		"764D49C6071":        "",
		"4jWnKx59XYz":        "",
		"4jWnKxzzzzz1VF5k":   "",
		"4jWnAx59XYz1VF5k":   "",
		"1pXyZa-0001ab-2C":   "",
		"z":                  "",
		"":                   "",
		"zzzzzzzzzzzzzzzzzz": "",
	} {
		got := ""
		if at, ok := queueIDTime(id); ok {
			got = at.Format(time.RFC3339Nano)
		}
		if got != want {
			t.Errorf("%q is of %q, want %q", id, got, want)
		}
	}
}

func FuzzReceived(f *testing.F) {
	for _, c := range receivedShapes {
		f.Add(c.header)
	}
	f.Fuzz(func(t *testing.T, header string) {
		h, ok := ParseReceived(header)
		_ = h.text()
		if ok && h.By == "" && h.At.IsZero() {
			t.Error("a header that says nothing counts as read")
		}
		if strings.ContainsAny(h.By+h.From+h.ID, " \t\r\n") && !strings.Contains(header, "ELO ") {
			t.Errorf("a name with a space: %q", header)
		}
	})
}

func FuzzQueueIDTime(f *testing.F) {
	f.Add("4jWnKx59XYz1VF5k")
	f.Add("gF6mG92XAWsoAAAAg+zDdQ")
	f.Fuzz(func(t *testing.T, id string) {
		if at, ok := queueIDTime(id); ok && at.Before(time.Unix(0, 0)) {
			t.Errorf("%q is of %s", id, at)
		}
		sessionIDTime(id)
	})
}
