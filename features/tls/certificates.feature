# Are the certificates in order on every port that has one? stepwatch checks each as a client would: is it for this
# host, trusted, sent with all its intermediates, strong, and valid for another week? A timer renews a certificate a
# month before its end. So a week before its end something is wrong, and there is still time to fix it. A failure names
# the fault.
#
# Needs in stepwatch.yml: host "mail", the mail server, by the name in its certificate. If you use a private authority,
# put its root under tls.ca. Delete the rows of ports that you do not have. Other ports work the same way: LDAP 389 and
# 636, FTP 21 and 990, XMPP 5222 and 5269, PostgreSQL 5432, MySQL 3306, Sieve 4190, LMTP 24.
#
# On the machine of the mail server, also check that the server serves the certificate on disk. This finds a server that
# nobody reloaded after the renewal:
#
#     When I connect to "mail:993"
#     Then the certificate served equals the file "/etc/letsencrypt/live/mail.example.org/fullchain.pem"
@every:1h
Feature: Certificates

  Scenario Outline: The certificate on port <port>
    Then the certificate of "mail:<port>" is in order for 7 days

    Examples: mail is sent
      | port |
      | 25   |
      | 465  |
      | 587  |

    Examples: mail is read
      | port |
      | 110  |
      | 143  |
      | 993  |
      | 995  |

    Examples: the web
      | port |
      | 443  |

  # These versions have been broken for years. Attackers who use them outnumber clients that know nothing newer.
  Scenario Outline: Old versions are refused on port <port>
    When I connect to "mail:<port>"
    Then the connection uses TLS 1.2 or newer
    And TLS 1.0 is refused
    And TLS 1.1 is refused

    Examples:
      | port |
      | 465  |
      | 993  |
      | 443  |
