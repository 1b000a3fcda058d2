@every:5m
Feature: The shop
  A customer can order tea.

  Scenario: An order
    Given the shop at "http://shop.test/"
    When I order:
      | article | pieces |
      | tea     | 2      |
    Then the order comes to 6.40
    And at most 5 orders are open
    When I go to "http://shop.test/"
    Then I should see "1 order"
