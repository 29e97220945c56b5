import { randomBytes } from 'node:crypto'
import { hasEnded, ownIdentity } from '../../sys/process-identity.ts'
import type { ContainerdClient } from './client.ts'
import { methods } from './messages.ts'

/** A lease of a process that died ends by itself, if no other delivery ends it before. */
const leaseHours = 24
const leasePrefix = 'windlass-'
/** The process that a lease belongs to. */
const ownerLabel = 'windlass.owner'

/**
 * Until it is disposed of, containerd collects nothing of what is made through this client. What deliveries left that were killed is let go of.
 * @throws WindlassError
 */
export async function openLease(client: ContainerdClient, signal: AbortSignal): Promise<AsyncDisposable> {
  await endDeadLeases(client, signal)
  const id = `${leasePrefix}${randomBytes(8).toString('hex')}`
  const expires = new Date(Date.now() + leaseHours * 3_600_000).toISOString()
  const context = { signal, doing: `Cannot take a lease from ${client.name}` }
  const labels = { 'containerd.io/gc.expire': expires, [ownerLabel]: ownIdentity() }
  await client.call(methods.createLease, { id, labels }, context)
  client.lease = id
  return {
    [Symbol.asyncDispose]: async () => {
      const ending = { signal, ms: 10_000, doing: `Cannot give the lease back to ${client.name}` }
      await client.leave(methods.deleteLease, { id, sync: false }, ending)
    },
  }
}

async function endDeadLeases(client: ContainerdClient, signal: AbortSignal): Promise<void> {
  const doing = `Cannot let go of what a dead delivery left in ${client.name}`
  const { leases } = await client.call(methods.listLeases, {}, { signal, doing })
  for (const { id, labels } of leases) {
    if (!id.startsWith(leasePrefix) || !hasEnded(labels[ownerLabel] ?? '')) continue
    // Another one may do the same.
    await client.find(methods.deleteLease, { id, sync: true }, { signal, doing })
  }
}

/**
 * Puts what is there already under the lease of this client, if it has one. To look something up holds nothing: it must be looked up again afterwards.
 * @param type as containerd calls it: `content`, `snapshots/SNAPSHOTTER`
 * @throws WindlassError
 */
export async function hold(
  client: ContainerdClient,
  { type, id }: { readonly type: string; readonly id: string },
  signal: AbortSignal,
): Promise<void> {
  if (client.lease === undefined) return
  const context = { signal, doing: `Cannot hold ${id} in ${client.name}` }
  await client.call(methods.addLeaseResource, { id: client.lease, resource: { id, type } }, context)
}
