using System;
using System.Collections.Generic;

namespace Rollcall
{
    /// <summary>Remembers the last 1,024 pushes that were handled and confirmed, so that none is handed out twice.</summary>
    internal sealed class PushMemory
    {
        internal const int Size = 1024;

        private readonly HashSet<Guid> known = new HashSet<Guid>();
        private readonly Queue<Guid> order = new Queue<Guid>();

        internal bool Has(Guid id) => known.Contains(id);

        internal void Add(Guid id)
        {
            if (!known.Add(id))
                return;
            order.Enqueue(id);
            if (order.Count > Size)
                known.Remove(order.Dequeue());
        }
    }
}
