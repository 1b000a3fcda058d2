# Do visitors who have only IPv6 reach the site, as those with IPv4 do? If one of the two is broken, browsers hide it
# and use the other. So each is tried alone.
#
# Replace www.example.org. Do the same for the mail host: its ports are 25, 587 and 993.
@every:5m
Feature: IPv6

  Scenario Outline: The site answers over <family>
    When I connect to "www.example.org:443" over <family>
    Then its certificate is for "www.example.org"
    And its certificate is trusted

    Examples:
      | family |
      | IPv4   |
      | IPv6   |
