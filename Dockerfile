FROM node:26-bookworm-slim AS build
WORKDIR /app
COPY package.json package-lock.json .npmrc ./
RUN npm ci
COPY tsconfig.json bundle.js ./
COPY shared shared
COPY gateway gateway
COPY sidecar sidecar
COPY control-plane control-plane
COPY scenarios scenarios
COPY bench bench
COPY tests tests
RUN npm run build && npm prune --omit=dev

# The proxies, the control plane, the Node.js services and the lab's runner.
FROM node:26-bookworm-slim AS node
# Two arenas are enough for a process of one busy thread, and 6 MB less for each.
ENV NODE_ENV=production MALLOC_ARENA_MAX=2
WORKDIR /app
COPY package.json ./
COPY --from=build /app/node_modules node_modules
COPY --from=build /app/dist dist
COPY scenarios/compose/healthcheck.sh scenarios/compose/respawn.sh ./
COPY scenarios/compose/config config
COPY scenarios/services/pricing/pricing.proto scenarios/services/pricing/
RUN mkdir /reports /kill /join-tokens && chown 1000:1000 /reports /kill /join-tokens
USER 1000:1000
ENTRYPOINT []
CMD ["node", "dist/gateway/main.js", "--help"]

# The inventory, in Python.
FROM python:3.13-slim AS inventory
WORKDIR /app
COPY scenarios/services/inventory/inventory.py scenarios/compose/healthcheck.sh scenarios/compose/respawn.sh ./
USER 1000:1000
CMD ["python", "/app/inventory.py"]

# The store of sessions.
FROM redis:8 AS redis
WORKDIR /app
COPY scenarios/compose/healthcheck.sh scenarios/compose/respawn.sh ./
USER 1000:1000
ENTRYPOINT []
CMD ["redis-server"]
