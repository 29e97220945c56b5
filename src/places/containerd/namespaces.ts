import type { ContainerdClient } from './client.ts'
import { methods } from './messages.ts'

/** The namespaces that a containerd has. @throws WindlassError */
export async function listNamespaces(client: ContainerdClient, signal: AbortSignal): Promise<string[]> {
  const doing = `Cannot list the namespaces of ${client.name}`
  const { namespaces } = await client.call(methods.listNamespaces, {}, { signal, doing })
  return namespaces.map(({ name }) => name)
}
