"""Money that cannot be overspent: a call is paid for in advance at its highest possible price."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from decimal import Decimal

from factory.errors import BudgetExceeded

ZERO = Decimal(0)


class Budget:
    """Spent plus reserved never passes the limit.

    It is as hard as the bounds are: a reservation must be no less than what the call can cost.
    """

    def __init__(self, limit: Decimal, spent: Decimal = ZERO) -> None:
        self.limit = limit
        self.spent = spent
        self.reserved = ZERO
        self._settled = asyncio.Event()

    @asynccontextmanager
    async def reserve(self, most: Decimal) -> AsyncIterator[Callable[[Decimal], None]]:
        """Hold `most` for one call, give the function that charges what it really cost.

        Waits while calls in flight may still give money back; `BudgetExceeded` once none can.
        """
        while not self._fits(most):
            if self.reserved == 0:
                raise BudgetExceeded(
                    f"Budget reached: {self.spent:.4f} of {self.limit:.4f} USD are spent, "
                    f"and the next call could cost {most:.6f}."
                )
            self._settled.clear()
            await self._settled.wait()
        self.reserved += most
        try:
            yield self._charge
        finally:
            self.reserved -= most
            self._settled.set()

    def _fits(self, amount: Decimal) -> bool:
        return self.spent + self.reserved + amount <= self.limit

    def _charge(self, cost: Decimal) -> None:
        self.spent += cost
